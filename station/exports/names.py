"""Names in exports: pseudonyms, or real names made harmless for file systems."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

from station.printing import printable
from station.reports import pseudonym

_LONGEST = 60  # bytes of a real name in a file's name; with its key it fits every file system
_KEY_DIGITS = 16  # of 8, two of 80,000 pictures would share one


def key_of(sha256: str, salt: str) -> str:
    """What stands for a picture's content: no name, and without the station's salt not to be found from the file."""
    return pseudonym(sha256, salt, _KEY_DIGITS)


def shown(names: bool, salt: str) -> Callable[[str], str]:
    """Real names, made printable, or pseudonyms."""
    return printable if names else (lambda text: pseudonym(text, salt))


def safe_stem(name: str, key: str) -> str:
    """A file's name without its ending, of letters, digits, `-`, `_` and `.`, and never the same for two keys."""
    text = unicodedata.normalize("NFC", PurePosixPath(name).stem)
    plain = "".join(one if one.isalnum() or one in "-_." else "_" for one in text).strip(".-_")
    short = plain.encode()[:_LONGEST].decode(errors="ignore")
    return f"{short}-{key}" if short else key

"""Names, numbers and sizes as they are shown: a file may be called anything, also like a command to the terminal."""

from __future__ import annotations

from typing import Final


def printable(text: str) -> str:
    r"""The text with line breaks, escape codes and undecodable bytes written out, as `\n` or `\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


# What a message adds where somebody may have told a name out of a report.
PSEUDONYMS: Final = "reports show pseudonyms, and `station report --names` the names"

# A cell that begins so is run as a formula by spreadsheet programs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def defused(text: str) -> str:
    """The text as a cell of a CSV file: printable, and with an apostrophe before what a spreadsheet would run."""
    plain = printable(text)
    return "'" + plain if text.startswith(_FORMULA) or plain.startswith(_FORMULA) else plain


def plural(count: int, noun: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: float) -> str:
    """Bytes in words, in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def as_text(told: str) -> str:
    """What a person said, as the database holds it.

    Bytes that were no text on the command line, and halves of characters from a browser, are written as escapes.
    """
    try:
        data = told.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = told.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")

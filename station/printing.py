"""Names as they may be shown: a file may be called anything, also like a command to the terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with line breaks, escape codes and undecodable bytes written out, as `\n` or `\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)

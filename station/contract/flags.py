"""The flag that others than its maker ask for; all flags, with their meanings, stand in README."""

from __future__ import annotations

from typing import Final

REVIEW: Final = "review"  # the count is doubtful: a person should look

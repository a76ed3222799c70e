"""The flags that others than their makers ask for; all flags, with their meanings, stand in README."""

from __future__ import annotations

from typing import Final

REVIEW: Final = "review"  # the count is doubtful: a person should look
OVERLAPS: Final = "overlaps"  # with an earlier field: no part of an analysis, for the earlier one may be rejected later

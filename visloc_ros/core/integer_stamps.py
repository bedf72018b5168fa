"""Units of stamps that are whole numbers: in names of images, and in text files of poses.

Numbers since 1970 say their unit by their digits: 10 of seconds, 13, 16 and 19 of milli-, micro- and nanoseconds, and
dates have the form YYYYMMDDhhmmss. Other numbers count from an unknown beginning; there only the rate tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np

from visloc_ros.core.trajectory import LATEST_NS, NANOSECONDS

FASTEST_HZ = 1000.0
"""No camera and no source of poses has more a second."""
_UNITS_NS = (1, 1_000, 1_000_000, NANOSECONDS)
_FIRST_S, _LAST_S = 1_000_000_000, 4_000_000_000  # September 2001 and the year 2096
_LONGEST_STEP_NS = 3600 * NANOSECONDS  # larger ones are of a clock that began elsewhere
_DATE = "%Y%m%d%H%M%S"
_DATE_DIGITS = 14
_FIRST_YEAR, _LAST_YEAR = 1990, 2100


def stamps_from_integers(words: Sequence[str]) -> list[int] | None:
    """Stamps in nanoseconds that whole numbers spell, in the order given; None for frame numbers.

    Of numbers that are neither dates nor since 1970, the unit is the finest of nano- and microseconds at which there
    are at most ``FASTEST_HZ`` a second; what is too dense for both numbers frames.
    """
    dates = [_date_ns(word) for word in words]
    if None not in dates:
        return [date for date in dates if date is not None]
    numbers = [int(word) for word in words]
    steps = np.diff(np.unique(np.array(numbers, dtype=object)))
    step = int(np.median(steps)) if len(steps) else None
    unit_ns = _unit_since_1970(numbers, step) or (None if step is None else _unit_by_rate(step))
    if unit_ns is None or max(map(abs, numbers)) * unit_ns > LATEST_NS:
        return None
    return [number * unit_ns for number in numbers]


def _unit_since_1970(numbers: Sequence[int], step: int | None) -> int | None:
    for unit_ns in _UNITS_NS:
        per_second = NANOSECONDS // unit_ns
        if _FIRST_S * per_second <= min(numbers) and max(numbers) < _LAST_S * per_second:
            return unit_ns if step is None or step * unit_ns <= _LONGEST_STEP_NS else None
    return None


def _unit_by_rate(step: int) -> int | None:
    return next((unit_ns for unit_ns in _UNITS_NS[:2] if step * unit_ns >= NANOSECONDS / FASTEST_HZ), None)


def _date_ns(word: str) -> int | None:
    """Nanoseconds since 1970 of a date in UTC, with fractions of its seconds; None for another number."""
    if not _DATE_DIGITS <= len(word) <= _DATE_DIGITS + 6 or not _FIRST_YEAR <= int(word[:4]) < _LAST_YEAR:
        return None
    try:
        date = datetime.strptime(word[:_DATE_DIGITS], _DATE).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return round(date.timestamp()) * NANOSECONDS + int(word[_DATE_DIGITS:].ljust(9, "0"))

"""Images of a bag in the order of their stamps, whatever the order of their arrival and their clock did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from visloc_ros.core.errors import SourceError
from visloc_ros.core.trajectory import NANOSECONDS

_MOST_OVERTAKING = 3  # images that arrive before an earlier one; more of them show that its stamp is wrong
_LONGEST_SWAP_NS = NANOSECONDS  # what comes later than that was not overtaken: its clock was set
_LONGEST_PAUSE_NS = 86_400 * NANOSECONDS
_NOT_SET = "it carries no stamp"

Item = TypeVar("Item")


def in_order(
    items: Iterable[Item], stamp_ns: Callable[[Item], int], skip: Callable[[SourceError], None]
) -> Iterator[Item]:
    """Items by increasing stamps; ``skip`` takes the reason for each that is left out.

    Those that arrive late are put in order. Left out are items without a stamp, those far ahead of what follows them,
    and those after a clock was set back.
    """
    previous_ns, overtaken_by = -1, 0
    waiting: Item | None = None
    for item in items:
        error = _too_early(stamp_ns(item), previous_ns)
        if error is not None:
            skip(error)
            continue
        if waiting is None:
            waiting = item
            continue
        first, later = sorted((waiting, item), key=stamp_ns)
        error = _no_stamp(stamp_ns(first), stamp_ns(later))
        if error is not None:
            skip(error)
        else:
            yield first
            previous_ns = stamp_ns(first)
            overtaken_by = overtaken_by + 1 if later is waiting else 0
        waiting = later
        if overtaken_by > _MOST_OVERTAKING:
            skip(_ahead(stamp_ns(waiting), previous_ns))
            waiting, overtaken_by = None, 0
    if waiting is not None:
        yield waiting


def _too_early(stamp_ns: int, previous_ns: int) -> SourceError | None:
    behind_ns = previous_ns - stamp_ns
    if behind_ns < 0:
        return None
    if stamp_ns == 0 and previous_ns > _LONGEST_PAUSE_NS:
        return SourceError(_NOT_SET)
    if behind_ns <= _LONGEST_SWAP_NS:
        return SourceError(f"the image's stamp {stamp_ns} ns is not after {previous_ns} ns")
    return SourceError(
        f"its stamp is {behind_ns / NANOSECONDS:.3f} s before that of an earlier one: the clock was set back, or a "
        "recording repeated; cut the bag there to use the rest"
    )


def _no_stamp(stamp_ns: int, next_ns: int) -> SourceError | None:
    if stamp_ns == 0 and (next_ns == 0 or next_ns > _LONGEST_PAUSE_NS):
        return SourceError(_NOT_SET)
    return SourceError(f"the image's stamp {stamp_ns} ns is not after {next_ns} ns") if stamp_ns == next_ns else None


def _ahead(stamp_ns: int, previous_ns: int) -> SourceError:
    return SourceError(f"its stamp is {(stamp_ns - previous_ns) / NANOSECONDS:.3f} s ahead of those that follow it")

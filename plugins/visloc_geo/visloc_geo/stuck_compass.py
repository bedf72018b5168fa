"""Photos whose compass was stuck: all have one heading, to a fraction of a degree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from visloc_geo.view import View

_LEAST_SIGMA_DEG = 5.0  # of a compass; what is measured better may well be the same along a straight street
_LEAST, _LEAST_SHARE = 5, 0.8
_DIGITS = 2


def views_of_stuck_compass(views: Iterable[View]) -> list[str]:
    """Names of the views whose headings are one and the same, if that is most of all by a compass; else none.

    A compass in a hand differs by some degrees from photo to photo.
    """
    headings = {view.name: _by_compass(view) for view in views}
    known = {name: one for name, one in headings.items() if one is not None}
    if not known:
        return []
    heading, count = Counter(known.values()).most_common(1)[0]
    if count < max(_LEAST, _LEAST_SHARE * len(known)):
        return []
    return [name for name, one in known.items() if one == heading]


def words_of(names: Sequence[str], shown: int = 5) -> str:
    """A sentence about such views."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (
        f"{len(names)} views have one and the same heading ({', '.join(names[:shown])}{more}): the compass was stuck, "
        "their headings are not used; 'visloc geo register' finds right ones"
    )


def _by_compass(view: View) -> float | None:
    """The heading of a view in degrees, None if it has none or one that no compass measured."""
    angles = view.orientation
    if angles is None or view.is_registered or angles.sigma_deg is None or angles.sigma_deg < _LEAST_SIGMA_DEG:
        return None
    return round(angles.heading_deg, _DIGITS)

"""Tags that cannot all be right: of views that show the same, and are tagged far from each other.

Views whose tags agree with those of views that show the same stand together, as those of one day or one folder do.
Where two such groups show the same, and their tags place them far apart, one of them is wrong as a whole: another
zone, another datum, positions of other photos. The smaller one is, if the other is much larger; else nobody knows. Nor
does anybody where the directions between positions are not those that the images show (``travel_directions``).
Altitudes that contradict each other so leave the positions usable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visloc_geo.alike_views import AlikeViews, read_alike_views
from visloc_geo.database import GeoDatabase
from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.tag_answer import HEIGHT_SIGMA_M, distance_sigma_m
from visloc_geo.solving.types import Tag
from visloc_geo.travel_directions import contradicted_positions
from visloc_geo.view import MISFIT, View
from visloc_ros.core.wgs84 import EnuFrame

_AGREEING, _CONTRADICTING = 3.0, 5.0  # standard deviations of the distance of two views
_LEAST_WITNESSES = 2  # views of others: one may have a twin elsewhere
_MUCH_SMALLER = 1.0 / 3.0
_SHOWN = 5


@dataclass(frozen=True)
class TagConflicts:
    """Names of views with wrong tags, and of those of which nobody knows whether theirs or others' are wrong.

    ``heights`` are those whose altitudes contradict others' by up to ``heights_off_m``.
    """

    wrong: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    heights: tuple[str, ...] = ()
    heights_off_m: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.wrong or self.doubtful or self.heights)

    def __str__(self) -> str:
        """What a user has to know; empty without any."""
        words = []
        if self.wrong:
            words.append(
                f"the tags of {named_views(self.wrong)} contradict what more views show: these views are not used"
            )
        if self.doubtful:
            words.append(
                f"the tags of {named_views(self.doubtful)} contradict each other, far beyond their errors, though "
                "these views show the same, or contradict their headings: no photo is located by them"
            )
        if self.heights:
            words.append(
                f"the altitudes of {named_views(self.heights)} contradict each other by up to {self.heights_off_m:.0f} "
                "m: they are taken to be as uncertain"
            )
        advice = "correct the positions ('visloc geo add --list'), or remove the views ('visloc geo remove')"
        return "; ".join([*words, advice]) if words else ""


def tag_conflicts_of(database: GeoDatabase) -> TagConflicts:
    """Those of a database whose views were matched (``match_alike_views``). Raises GeoError."""
    views = list(database)
    is_placed = any(view.position is not None for view in views)
    return tag_conflicts(views, database.origin, read_alike_views(database)) if is_placed else TagConflicts()


def tag_conflicts(views: Sequence[View], frame: EnuFrame, alike: AlikeViews) -> TagConflicts:
    """Which views' tags contradict those of views that show the same, or their registration."""
    misfits = tuple(view.name for view in views if MISFIT in view.others)
    placed = [view for view in views if view.position is not None and view.name not in misfits]
    tags = {view.name: Tag.of_view(view, frame) for view in placed}
    panoramas = [view.panorama for view in placed]
    wrong, doubtful = (_names(tags, rows) for rows in _contradicting(panoramas, _pairs(tags, alike)))
    known = {name: tag for name, tag in tags.items() if name not in wrong and name not in doubtful}
    doubtful += contradicted_positions(known, alike)
    heights = list(_height_pairs(known, alike))
    of_heights = _contradicting([view.panorama for view in placed if view.name in known], (one[:3] for one in heights))
    return TagConflicts(
        misfits + tuple(wrong),
        tuple(doubtful),
        tuple(_names(known, np.logical_or(*of_heights))),
        max((difference for *_, deviation, difference in heights if deviation > _CONTRADICTING), default=0.0),
    )


def _names(tags: Iterable[str], chosen: NDArray[np.bool_]) -> list[str]:
    return [name for name, is_chosen in zip(tags, chosen, strict=True) if is_chosen]


def _contradicting(
    panoramas: Sequence[str | None], pairs: Iterable[tuple[int, int, float]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which views (N,) are wrong, which ones doubtful, by pairs of rows that differ by standard deviations."""
    found = np.array(list(pairs)).reshape(-1, 3)
    rows, deviations = found[:, :2].astype(int), found[:, 2]
    groups = _groups(panoramas, rows[deviations <= _AGREEING])
    wrong, doubtful = _judged(groups, rows[deviations > _CONTRADICTING])
    return np.isin(groups, list(wrong)), np.isin(groups, list(doubtful))


def _judged(groups: NDArray[np.intp], contradicting: NDArray[np.integer]) -> tuple[set[int], set[int]]:
    """Groups that are wrong, and doubtful ones: numbers (N,) of the views' groups, pairs (M, 2) that contradict.

    A group is held against those that are no smaller, and not wrong themselves.
    """
    sizes, wrong, doubtful = np.bincount(groups), set[int](), set[int]()
    both_ways = np.concatenate([contradicting, contradicting[:, ::-1]])
    of_groups = groups[both_ways]
    for group in np.argsort(-sizes, kind="stable").tolist():
        against = of_groups[:, 1]
        counts = (of_groups[:, 0] == group) & (against != group) & (sizes[against] >= sizes[group])
        counts &= ~np.isin(against, list(wrong))
        if len(np.unique(both_ways[counts, 1])) < _LEAST_WITNESSES:
            continue
        others = against[counts]
        is_much_larger = _MUCH_SMALLER * sizes[others] >= sizes[group]
        if is_much_larger.any():
            wrong.add(group)
        else:
            doubtful |= {group, *others.tolist()}
    return wrong, doubtful


def _pairs(tags: Mapping[str, Tag], alike: AlikeViews) -> Iterator[tuple[int, int, float]]:
    """Rows of two views that show the same, and their distance by their tags in standard deviations."""
    row_of, config = {name: row for row, name in enumerate(tags)}, SolvingConfig()
    for name, others in alike.items():
        for other, found in others.items():
            if name in row_of and other in row_of:
                one, two = tags[name], tags[other]
                assert one.position is not None
                assert two.position is not None
                sigma_m = math.hypot(distance_sigma_m(found.apart, config), one.position_sigma_m, two.position_sigma_m)
                yield row_of[name], row_of[other], math.dist(one.position[:2], two.position[:2]) / sigma_m


def _height_pairs(tags: Mapping[str, Tag], alike: AlikeViews) -> Iterator[tuple[int, int, float, float]]:
    """Rows of two views, and how far their heights differ from what they show, in standard deviations and metres."""
    row_of = {name: row for row, name in enumerate(tags)}
    for name, others in alike.items():
        for other, found in others.items():
            if name in row_of and other in row_of and found.view_from_alike is not None:
                one, two = tags[name], tags[other]
                to_right, down, ahead = found.view_from_alike.translation
                step = np.asarray(two.position) - np.asarray(one.position)
                distance, level = math.hypot(step[0], step[1]), math.hypot(to_right, ahead)
                if level > abs(down):
                    tilt = math.radians(math.hypot(one.tilt_sigma_deg, two.tilt_sigma_deg))
                    sigma = math.hypot(one.height_sigma_m, two.height_sigma_m, HEIGHT_SIGMA_M, distance * tilt)
                    difference = abs(step[2] + distance * down / level)
                    yield row_of[name], row_of[other], difference / sigma, difference


def _groups(panoramas: Sequence[str | None], agreeing: NDArray[np.integer]) -> NDArray[np.intp]:
    """Numbers (N,) of the views' groups, by pairs (M, 2) of rows that agree, and panoramas."""
    first_of = dict[str, int]()
    together = [(first_of.setdefault(one, row), row) for row, one in enumerate(panoramas) if one is not None]
    edges = np.array([*agreeing.tolist(), *together], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(panoramas), len(panoramas)))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def named_views(names: Sequence[str]) -> str:
    """How many views, and the first of their names."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} views ({', '.join(names[:_SHOWN])}{more})"

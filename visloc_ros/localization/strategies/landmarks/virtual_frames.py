"""Virtual reference frames: of each landmark the few views that together show most of it.

After PRAM (Xue et al. 2024, arXiv 2404.07785). Of the image they keep only its pose and camera:
their features are the projections of points, with the points' descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.localization.reduced_map.views import Rows
from visloc_ros.localization.strategies.landmarks.clustering import POSE_POINTS

_MIN_SEEN = 150  # points of any landmark: a view with few has little to match where the landmark is in doubt
_MOST_CANDIDATES = 500
_ENOUGH_COVERED = 0.9
_MOST_FRAMES = 10
_LEAST_GAIN = 0.01  # of the landmark


def choose_virtual_frames(seen: Sequence[Rows], labels: NDArray[np.integer]) -> list[list[int]]:
    """Rows of the views that stand for each landmark (1 to the largest label), the one to match first.

    ``seen`` are rows of the points that each view shows, ``labels`` (P,) their landmarks. Raises MapError where no view
    shows anything of a landmark.
    """
    totals = np.array([len(rows) for rows in seen])
    views = np.repeat(np.arange(len(seen)), totals)
    points = np.concatenate([np.empty(0, np.int32), *seen])
    order = np.argsort(labels[points], kind="stable")
    bounds = np.searchsorted(labels[points[order]], np.arange(1, int(labels.max()) + 2))
    return [
        _choose(views[order[first:last]], points[order[first:last]], totals, label)
        for label, (first, last) in enumerate(pairwise(bounds), start=1)
    ]


def _choose(views: NDArray[np.intp], points: NDArray[np.integer], totals: NDArray[np.intp], label: int) -> list[int]:
    """The frames of one landmark, of which ``views`` show ``points`` (O,)."""
    if len(views) == 0:
        raise MapError(f"no image shows landmark {label} of the map: its points do not fit its poses, build it again")
    candidates = _candidates(np.bincount(views, minlength=len(totals)), totals)
    places = np.full(len(totals), -1)
    places[candidates] = np.arange(len(candidates))
    distinct, columns = np.unique(points, return_inverse=True)
    shows = np.zeros((len(candidates), len(distinct)), bool)
    mine = places[views] >= 0
    shows[places[views[mine]], columns[mine]] = True
    return [int(candidates[place]) for place in cover(shows)]


def _candidates(shown: NDArray[np.intp], totals: NDArray[np.intp]) -> NDArray[np.intp]:
    """Views that may stand for a landmark, by how many of its points each shows, those that show most of all first.

    They should show enough of the landmark for a pose, and enough in total; where none does, views with less are taken.
    """
    tiers = ((shown >= POSE_POINTS) & (totals >= _MIN_SEEN), shown >= POSE_POINTS, shown > 0)
    fit = np.flatnonzero(next(tier for tier in tiers if tier.any()))
    return fit[np.argsort(-totals[fit], kind="stable")][:_MOST_CANDIDATES]


def cover(shows: NDArray[np.bool_]) -> list[int]:
    """Greedy maximum coverage: rows of ``shows`` (views, points) that each add most points to those before.

    Ends when nine tenths are covered, with ten views, or where the next one adds less than a hundredth. Of views that
    add as many the first is taken.
    """
    missing = np.ones(shows.shape[1], bool)
    chosen: list[int] = []
    while len(chosen) < _MOST_FRAMES and missing.sum() > (1.0 - _ENOUGH_COVERED) * len(missing):
        gains = shows[:, missing].sum(axis=1)
        best = int(np.argmax(gains))
        if gains[best] < max(1.0, _LEAST_GAIN * len(missing)):
            break
        chosen.append(best)
        missing &= ~shows[best]
    return chosen

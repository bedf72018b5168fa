"""Matches of two images within the instances that both show, then of what is left.

After LBR (Xue et al., CVPR 2022). The second round lets matches survive a wrong mask, and images without instances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.types import Matcher, Matches
from visloc_search.instances.config import NO_INSTANCE

Labels = NDArray[np.integer]


def match_by_instance(
    matcher: Matcher, query: LocalFeatures, query_labels: Labels, image: LocalFeatures, image_labels: Labels
) -> Matches:
    """Matches of the features of two images, ``*_labels`` (N,) being the instance of each keypoint."""
    found: list[Matches] = []
    for one in np.intersect1d(query_labels, image_labels):
        if one != NO_INSTANCE:
            rows = np.flatnonzero(query_labels == one), np.flatnonzero(image_labels == one)
            found.append(_match_rows(matcher, query, image, rows))
    left = tuple(
        np.setdiff1d(np.arange(count), [row for part in found for row in part.pairs[:, side]])
        for side, count in enumerate((len(query), len(image)))
    )
    found.append(_match_rows(matcher, query, image, (left[0], left[1])))
    return Matches(np.concatenate([one.pairs for one in found]), np.concatenate([one.scores for one in found]))


def _match_rows(
    matcher: Matcher, query: LocalFeatures, image: LocalFeatures, rows: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> Matches:
    """Matches of some of the keypoints by row."""
    found = matcher.match(query.take(rows[0]), image.take(rows[1]))
    pairs = np.column_stack((rows[0][found.pairs[:, 0]], rows[1][found.pairs[:, 1]]))
    return Matches(pairs.astype(np.int32), found.scores)

"""Whether two frames that look alike show the same place, and their relative pose (Lipson et al. 2024).

Beside the published tests, a loop must explain the rest of the images: of the points that each camera should see of
the other's, a fair part must be matched. A picture of which there are two prints passes every other test.
"""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.features import Matcher
from visloc_ros.odometry.dpvo.frame_points import FramePoints
from visloc_ros.odometry.dpvo.point_alignment import PointAlignment, align_points

_MIN_INLIERS = 30
_MIN_INLIER_RATIO = 0.4
_MIN_SPREAD = 0.08
_MIN_MATCHED_SHARE = 0.45


@dataclass(frozen=True, eq=False)
class LoopEvidence:
    """``alignment`` place_from_query of the matched points, and how many were ``expected`` to be matched."""

    alignment: PointAlignment
    expected: int

    @property
    def is_sure(self) -> bool:
        """Whether enough points agree, on more than one small thing, and most of what should be seen is."""
        inliers = self.alignment.inliers
        return (
            inliers.sum() >= _MIN_INLIERS
            and inliers.mean() >= _MIN_INLIER_RATIO
            and self.alignment.spread >= _MIN_SPREAD
            and len(inliers) >= _MIN_MATCHED_SHARE * self.expected
        )

    def __str__(self) -> str:
        alignment = self.alignment
        counts = f"{alignment.num_inliers} of {len(alignment.inliers)} points agree, {self.expected} expected"
        return f"{counts}, spread {alignment.spread:.2f}, scale {alignment.target_from_source.scale:.3f}"


def measure_loop(query: FramePoints, place: FramePoints, matcher: Matcher) -> LoopEvidence | None:
    """Match and align the points of two frames; None where too few match."""
    pairs = matcher.match(query.features, place.features).pairs
    alignment = align_points(query.points[pairs[:, 0]], place.points[pairs[:, 1]])
    if alignment is None:
        return None
    place_from_query = alignment.target_from_source
    in_place = place.count_visible(place_from_query @ query.points)
    in_query = query.count_visible(place_from_query.inverse @ place.points)
    return LoopEvidence(alignment, min(in_place, in_query))

"""The pose of a rig of which no camera alone is found, by the matches of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.localization.acceptance import relative_thickness
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.evidence import RIVAL_SHARE, Evidence, sees_elsewhere
from visloc_ros.localization.rig.acceptance import rig_probability, rig_refusal, speaks_for
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.solving import RigSolution, is_by_chance, solve_rig_pose
from visloc_ros.localization.rig.view import RigView

_UNUSABLE = (Reason.FEW_FEATURES, Reason.INTRINSICS_MISMATCH, Reason.HINT_EXCLUDES_ALL)

Found = tuple[Sequence[RigView], RigSolution, float]
"""Views, the joint pose, and the probability that it is right."""


@dataclass(frozen=True, eq=False)
class _Matched:
    """What a camera matched: all correspondences, and the poses of the rig that they suggest."""

    camera: CameraSearch
    view: RigView
    suggested: Sequence[SE3]


class JointSearch:
    """Judges joint poses by the rules for single images: chance, fit to the map, one object, other places."""

    def __init__(self, engine: AnchorEngine) -> None:
        self._engine, self._config = engine, engine.config

    def find(self, cameras: Sequence[CameraSearch]) -> Found | Reason:
        """The joint pose of cameras that were searched each alone, or why there is none."""
        usable = [camera for camera in cameras if _is_usable(camera)]
        matched = [self._matched(camera) for camera in usable]
        views = [one.view for one in matched]
        if len(views) < 2 or sum(len(view.pixels) for view in views) < self._config.min_matches:
            return _own_reason(cameras)
        solution = solve_rig_pose(views, self._config.pose, [pose for one in matched for pose in one.suggested])
        if solution is None or is_by_chance(views, solution, self._config.pose):
            return _own_reason(cameras)
        return self._judge(matched, solution)

    def _matched(self, camera: CameraSearch) -> _Matched:
        """The most promising evidence of a camera, with that of its rival: other cameras decide between them."""
        features, best = max(camera.query.judged, key=lambda one: (one[1].num_inliers, len(one[1].correspondences)))
        gathered = [one for one in (best, best.rival) if one is not None]
        poses = [camera.map_from_rig(one.solution.map_from_camera) for one in gathered if one.solution is not None]
        return _Matched(camera, camera.view(features, gathered, self._engine.map.points), poses)

    def _judge(self, matched: Sequence[_Matched], first: RigSolution) -> Found | Reason:
        """The pose by the points in view of the cameras at the first one, if it can be trusted."""
        around = [self._gather_around(one.camera, first) for one in matched]
        views = [
            one.view if found is None else one.camera.view(one.camera.query.features, [found], self._engine.map.points)
            for one, found in zip(matched, around, strict=True)
        ]
        solution = solve_rig_pose(views, self._config.pose, [first.map_from_rig])
        if solution is None:
            return Reason.FEW_INLIERS
        supports, shares = [], [1.0]
        for one, view, found in zip(matched, views, around, strict=True):
            of_camera = one.camera.at(solution.map_from_rig, view, self._config.pose)
            if of_camera is not None:
                supports.append(one.camera.support(of_camera, view, found, self._config.pose))
                shares.append(self._engine.fit.risk_share(of_camera))
        if sum(speaks_for(support) for support in supports) < 2:
            return Reason.FEW_INLIERS
        thickness = _thickness(views, solution)
        reason = rig_refusal(supports, thickness, min(shares) * self._config.max_risk)
        if reason is None and self._is_ambiguous(matched, solution):
            reason = Reason.AMBIGUOUS_PLACE
        return (views, solution, rig_probability(supports, thickness)) if reason is None else reason

    def _gather_around(self, camera: CameraSearch, solution: RigSolution) -> Evidence | None:
        """Map points searched around the pose of a camera; None where too few are found to be of use."""
        found = self._engine.gather_around(camera.query, camera.map_from_camera(solution.map_from_rig))
        return None if found.solution is None else found

    def _is_ambiguous(self, matched: Sequence[_Matched], solution: RigSolution) -> bool:
        """Whether a pose elsewhere explains about as many of the matches of all cameras."""
        views = [one.view for one in matched]
        inliers = [view.inliers(solution.map_from_rig, self._config.pose) for view in views]
        enough = RIVAL_SHARE * sum(int(rows.sum()) for rows in inliers)
        for one, rows in zip(matched, inliers, strict=True):
            here, points = one.camera.map_from_camera(solution.map_from_rig), one.view.points[rows]
            for pose in one.suggested:
                there = one.camera.map_from_camera(pose)
                if not rows.any() or not sees_elsewhere(here, points, there):
                    continue
                if sum(int(view.inliers(pose, self._config.pose).sum()) for view in views) >= enough:
                    return True
        return False


def _is_usable(camera: CameraSearch) -> bool:
    assert isinstance(camera.answer, Rejection)
    has_evidence = any(len(evidence.correspondences) for _, evidence in camera.query.judged)
    return has_evidence and camera.answer.reason not in _UNUSABLE


def _own_reason(cameras: Sequence[CameraSearch]) -> Reason:
    """The reason of the camera that came closest to a pose."""
    rejections = [camera.answer for camera in cameras if isinstance(camera.answer, Rejection)]
    return max(rejections, key=lambda one: (one.counts.get("inliers", 0), one.counts.get("correspondences", 0))).reason


def _thickness(views: Sequence[RigView], solution: RigSolution) -> float:
    """Thickness of the inliers of all cameras, seen from the rig."""
    points = np.concatenate([view.points[rows] for view, rows in zip(views, solution.inliers, strict=True)])
    return relative_thickness(solution.map_from_rig.inverse @ points)

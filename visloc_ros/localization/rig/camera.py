"""One camera of a rig while its image is searched: its query, its answer, and the correspondences that it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.tangent import move_covariance
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.localization.acceptance import InlierSupport
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.evidence import Evidence, Query
from visloc_ros.localization.pose import PoseSolution, judge_pose
from visloc_ros.localization.rig.view import RigView


@dataclass(frozen=True, eq=False)
class CameraSearch:
    """The search for one camera. ``rig_from_camera`` takes the camera, at its image, to the rig at the rig's stamp."""

    name: str
    query: Query
    rig_from_camera: SE3
    motion_covariance: Array | None
    answer: AnchorPose | Rejection

    def map_from_rig(self, map_from_camera: SE3) -> SE3:
        """The pose of the rig at its stamp by one of the camera at its image."""
        return map_from_camera @ self.rig_from_camera.inverse

    def map_from_camera(self, map_from_rig: SE3) -> SE3:
        """The pose of the camera at its image by one of the rig at its stamp."""
        return map_from_rig @ self.rig_from_camera

    @property
    def anchor(self) -> AnchorPose:
        """The camera's own pose. It must have one."""
        assert isinstance(self.answer, AnchorPose)
        return self.answer

    @property
    def own_map_from_rig(self) -> SE3:
        """The pose of the rig by the camera's own, which it must have."""
        return self.map_from_rig(self.anchor.map_from_camera)

    def own_covariances(self) -> tuple[Array, Array]:
        """Covariance (6, 6) of that pose by the image alone, and with the error of the motion since."""
        pose = self.own_map_from_rig
        by_image = move_covariance(self.anchor.covariance, pose.translation - self.anchor.map_from_camera.translation)
        motion = self.own_view.motion_in_map(pose)
        return by_image, by_image if motion is None else by_image + motion

    @property
    def own_view(self) -> RigView:
        """The inliers of the camera's own pose, which it must have."""
        return self._view(self.anchor.inlier_pixels, self.anchor.inlier_points)

    def view(self, features: LocalFeatures, gathered: Iterable[Evidence], map_points: Array) -> RigView:
        """Correspondences of pieces of evidence, each once."""
        pairs = [(one.correspondences.keypoint_rows, one.correspondences.point_rows) for one in gathered]
        rows = np.unique(np.concatenate([np.stack(pair, axis=1) for pair in pairs]), axis=0)
        return self._view(features.keypoints[rows[:, 0]].astype(np.float64), map_points[rows[:, 1]])

    def inlier_view(self, evidence: Evidence, map_points: Array) -> RigView:
        """The inliers of evidence with a pose."""
        assert evidence.solution is not None
        rows, inliers = evidence.correspondences, evidence.solution.inliers
        return self._view(rows.pixels(self.query.features)[inliers], map_points[rows.point_rows[inliers]])

    def _view(self, pixels: Array, points: Array) -> RigView:
        camera = self.query.frame.camera
        return RigView(self.name, self.rig_from_camera, camera, pixels, points, self.motion_covariance)

    def at(self, map_from_rig: SE3, view: RigView, config: PoseConfig) -> PoseSolution | None:
        """The pose of the camera that one of the rig gives, by a view; None with fewer than four inliers."""
        seen_from = self.map_from_camera(view.seen_from(map_from_rig, config))
        return judge_pose(seen_from, view.pixels, view.points, view.camera, config)

    def support(
        self, solution: PoseSolution, view: RigView, around: Evidence | None, config: PoseConfig
    ) -> InlierSupport:
        """Support of such a pose; ``around`` is the search around it that the view is of, if it is of one."""
        num_keypoints = len(self.query.features)
        if around is None or around.support is None:
            return InlierSupport.of_matches(solution, view.pixels, view.points, num_keypoints, config)
        in_view = around.support.num_expected
        return InlierSupport.of_view(solution, view.pixels, view.points, num_keypoints, in_view)

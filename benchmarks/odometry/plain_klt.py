"""The simplest odometry: corners, Lucas-Kanade, essential matrix, and concatenated steps.

It has no map, so every step is one unit long however far the camera went. It is the baseline below ``klt``.
Run: python -m benchmarks.odometry.plain_klt ../shared/data/euroc_mh05 --json out/plain.json
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.program import new_parser
from benchmarks.results_file import write_json
from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.odometry_run import run_odometry
from visloc_ros.evaluation.odometry_summary import summarize_odometry
from visloc_ros.odometry import Odometry
from visloc_ros.sources import SourceConfig, open_source

NUM_CORNERS = 1000
CORNER_QUALITY, CORNER_DISTANCE_PX = 0.01, 10.0
WINDOW_PX, PYRAMID_LEVELS = (21, 21), 3
MIN_FLOW_PX = 0.5
MIN_POINTS = 15
INLIER_PX = 1.0

GreyImage = NDArray[np.uint8]
Points = NDArray[np.float32]
"""Pixels (N, 2) in OpenCV's convention."""


class PlainKlt(Odometry):
    """Corners followed from the frame before, and found again when half of them are gone."""

    _grey: GreyImage | None
    _points: Points
    _odom_from_camera: SE3

    def __init__(self) -> None:
        self.reset()

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give ``odom_from_camera`` of the next frame, or the reason why there is none."""
        if self._grey is None:
            return self._go_on(frame, self._odom_from_camera)
        before, after = self._follow(self._grey, frame.grey)
        if len(after) < MIN_POINTS:
            self._detect(frame)
            return Rejection(frame.stamp_ns, Reason.FEW_FEATURES)
        if np.median(np.linalg.norm(after - before, axis=1)) < MIN_FLOW_PX:
            return self._pose(frame)
        camera_from_previous = step(frame, before, after)
        if camera_from_previous is None:
            self._detect(frame)
            return Rejection(frame.stamp_ns, Reason.FEW_INLIERS)
        self._points = after
        return self._go_on(frame, self._odom_from_camera @ camera_from_previous.inverse)

    def reset(self) -> None:
        """Forget everything."""
        self._grey, self._points = None, np.empty((0, 2), np.float32)
        self._odom_from_camera = SE3.identity()

    def _follow(self, earlier: GreyImage, grey: GreyImage) -> tuple[Points, Points]:
        after, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]  # a first guess may be None
            earlier, grey, self._points, None, winSize=WINDOW_PX, maxLevel=PYRAMID_LEVELS
        )
        good = np.asarray(found).ravel() == 1
        return self._points[good], np.asarray(after, np.float32)[good]

    def _go_on(self, frame: Frame, odom_from_camera: SE3) -> OdometryPose:
        self._odom_from_camera, self._grey = odom_from_camera, frame.grey
        if len(self._points) < NUM_CORNERS // 2:
            self._detect(frame)
        return self._pose(frame)

    def _detect(self, frame: Frame) -> None:
        corners = cv2.goodFeaturesToTrack(frame.grey, NUM_CORNERS, CORNER_QUALITY, CORNER_DISTANCE_PX)
        none = np.empty((0, 2), np.float32)
        self._grey, self._points = frame.grey, none if corners is None else np.asarray(corners, np.float32)[:, 0]

    def _pose(self, frame: Frame) -> OdometryPose:
        return OdometryPose(frame.stamp_ns, self._odom_from_camera, 0, len(self._points))


def step(frame: Frame, before: Points, after: Points) -> SE3 | None:
    """``camera_from_previous`` with a translation of length one, from points (N, 2) in pixels of both frames."""
    first, second = (rays(frame.camera, points + 0.5) for points in (before, after))
    limit = INLIER_PX / frame.camera.mean_focal_length()
    essential, mask = cv2.findEssentialMat(first, second, np.eye(3), cv2.RANSAC, 0.999, limit)
    if essential is None or essential.shape != (3, 3) or np.count_nonzero(mask) < MIN_POINTS:
        return None
    _, rotation, translation, _ = cv2.recoverPose(essential, first, second, np.eye(3), mask=mask)
    return SE3(np.asarray(rotation, np.float64), np.asarray(translation, np.float64).ravel())


def main() -> None:
    """Track one source, and write the same figures as ``visloc track``."""
    parser = new_parser(__doc__)
    parser.add_argument("source", type=Path, help="video, folder or bag")
    parser.add_argument("--last", type=int, default=-1, help="index of the last image; -1 reads to the end")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    arguments = parser.parse_args()
    source = open_source(arguments.source, SourceConfig(last=arguments.last))
    run = run_odometry(PlainKlt, decode(source))
    figures = summarize_odometry(run, evaluate_odometry(run.results, source.ground_truth))
    write_json(arguments.json, figures)
    print(f"{source.name}: ATE {figures['ate_sim3_m']}, {figures['latency_ms']['p50']:.1f} ms a frame")


if __name__ == "__main__":
    main()

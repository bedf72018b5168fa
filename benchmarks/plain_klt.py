"""The odometry that anyone writes first: corners, Lucas-Kanade, essential matrix, and steps put one after the other.

It has no map, so every step is one unit long however far the camera went. It is the floor that ``klt`` is held against.
Run: .venv/bin/python benchmarks/plain_klt.py ../shared/data/euroc_mh05 --json out/plain.json
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.odometry_run import run_odometry
from visloc_ros.evaluation.odometry_summary import summarize_odometry
from visloc_ros.sources import SourceConfig, open_source

NUM_CORNERS = 1000
CORNERS = {"maxCorners": NUM_CORNERS, "qualityLevel": 0.01, "minDistance": 10}
LUCAS_KANADE = {"winSize": (21, 21), "maxLevel": 3}
MIN_FLOW_PX = 0.5
MIN_POINTS = 15
INLIER_PX = 1.0


class PlainKlt:
    """Corners followed from the frame before, and found anew when half of them are gone."""

    def __init__(self) -> None:
        self.reset()

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give ``odom_from_camera`` of the next frame, or the reason why there is none."""
        if self._grey is None:
            return self._go_on(frame, self._odom_from_camera)
        before, after = self._follow(frame.grey)
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

    def settle(self) -> dict:
        """Nothing: every frame is finished with its pose."""
        return {}

    def take_loops(self) -> tuple:
        """Nothing: it recognises no earlier places."""
        return ()

    def finish(self) -> None:
        """Nothing: poses stay as they were given."""

    def reset(self) -> None:
        """Forget everything."""
        self._grey, self._points = None, np.empty((0, 2), np.float32)
        self._odom_from_camera = SE3.identity()

    def close(self) -> None:
        """Nothing runs in the background."""

    def _follow(self, grey):
        after, found, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, self._points, None, **LUCAS_KANADE)
        good = found.ravel() == 1
        return self._points[good], after[good]

    def _go_on(self, frame: Frame, odom_from_camera: SE3) -> OdometryPose:
        self._odom_from_camera, self._grey = odom_from_camera, frame.grey
        if len(self._points) < NUM_CORNERS // 2:
            self._detect(frame)
        return self._pose(frame)

    def _detect(self, frame: Frame) -> None:
        corners = cv2.goodFeaturesToTrack(frame.grey, **CORNERS)
        self._grey, self._points = frame.grey, np.empty((0, 2), np.float32) if corners is None else corners[:, 0]

    def _pose(self, frame: Frame) -> OdometryPose:
        return OdometryPose(frame.stamp_ns, self._odom_from_camera, 0, len(self._points))


def step(frame: Frame, before: np.ndarray, after: np.ndarray) -> SE3 | None:
    """``camera_from_previous`` with a translation of length one, from points (N, 2) in pixels of both frames."""
    rays = [frame.camera.cam_from_img(points.astype(np.float64) + 0.5) for points in (before, after)]
    limit = INLIER_PX / frame.camera.mean_focal_length()
    essential, mask = cv2.findEssentialMat(*rays, np.eye(3), cv2.RANSAC, 0.999, limit)
    if essential is None or essential.shape != (3, 3) or np.count_nonzero(mask) < MIN_POINTS:
        return None
    _, rotation, translation, _ = cv2.recoverPose(essential, *rays, np.eye(3), mask=mask)
    return SE3(rotation, translation)


def main() -> None:
    """Track one source, and write the same figures as ``visloc track``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="video, folder or bag")
    parser.add_argument("--last", type=int, default=-1, help="index of the last image; -1 reads to the end")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    arguments = parser.parse_args()
    source = open_source(arguments.source, SourceConfig(last=arguments.last))
    run = run_odometry(PlainKlt, decode(source))
    figures = summarize_odometry(run, evaluate_odometry(run.results, source.ground_truth))
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{source.name}: ATE {figures['ate_sim3_m']}, {figures['latency_ms']['p50']:.1f} ms a frame")


if __name__ == "__main__":
    main()

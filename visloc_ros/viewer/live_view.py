"""A live camera in a scene: its pose, its image, its path, and the poses by searches."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from visloc_ros.core.advice import ADVICE
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import AnchorPose, Estimate, Frame, Rejection
from visloc_ros.pipeline.live_camera import LiveCamera
from visloc_ros.viewer.scene import QUERY_COLOUR, Scene, as_rgb, shrunk

FOUND_COLOUR = (40, 180, 90)
PERIOD_S = 0.1  # smooth to the eye; each update sends the browser a picture
MOST_POSITIONS, MOST_FOUND = 20_000, 500


class LiveView:
    """Shows the results of a live camera; called from one thread."""

    def __init__(self, scene: Scene, camera: LiveCamera) -> None:
        self._scene, self._camera = scene, camera
        gui = scene.server.gui
        self._words, self._follow = gui.add_markdown("Waiting for the camera."), gui.add_checkbox("Follow", False)
        self._picture = gui.add_image(np.full((3, 4, 3), 235, np.uint8), label="Camera")
        self._way: deque[Array] = deque(maxlen=MOST_POSITIONS)
        self._found: deque[Array] = deque(maxlen=MOST_FOUND)
        self._search = "none yet"
        self._shown_s = -PERIOD_S

    def show(self, frame: Frame, estimate: Estimate) -> None:
        """Take a frame and its pose; shown at a limited rate."""
        pose = estimate.map_from_camera
        if pose is not None:
            self._way.append(pose.translation)
        for result in self._camera.take_searches():
            self._take_search(result)
        now_s = time.monotonic()
        if now_s - self._shown_s < PERIOD_S:
            return
        self._shown_s = now_s
        with self._scene.server.atomic():
            self._picture.image = as_rgb(shrunk(frame.rgb))
            self._words.content = self._words_for(estimate)
            if pose is not None:
                self._show_pose(frame, pose)

    def _take_search(self, result: AnchorPose | Rejection) -> None:
        if isinstance(result, Rejection):
            self._search = result.reason.value
            return
        self._search = f"found, {result.num_inliers} inliers"
        self._found.append(result.map_from_camera.translation)
        self._scene.show_points("/found", np.array(self._found), FOUND_COLOUR, 2.0)

    def _show_pose(self, frame: Frame, pose: SE3) -> None:
        calibration = self._camera.calibration or frame.calibration
        lens = frame.camera if calibration is None else calibration.camera
        self._scene.show_camera("/camera", pose, lens, QUERY_COLOUR, shrunk(frame.rgb), size=1.6)
        positions = np.array(self._way)
        self._scene.show_path("/way", positions, np.tile(np.array(QUERY_COLOUR, np.uint8), (len(positions), 1)))
        if self._follow.value:
            self._scene.follow(pose)

    def _words_for(self, estimate: Estimate) -> str:
        reason = estimate.reason
        lines = [f"**{estimate.state.value}** {'' if reason is None else ADVICE.get(reason, reason.value)}"]
        if estimate.map_from_camera is not None:
            x, y, z = estimate.map_from_camera.translation.tolist()
            lines.append(f"x {x:.2f}, y {y:.2f}, z {z:.2f} {self._scene.unit}")
        lines.append(f"last search: {self._search}")
        return "  \n".join([*lines, f"camera: {self._camera.calibration}"])

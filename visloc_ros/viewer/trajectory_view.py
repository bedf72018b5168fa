"""A trajectory in a scene: its path, its cameras with their pictures, and controls to play it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pycolmap
import viser
from matplotlib import colormaps
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.viewer.scene import QUERY_COLOUR, Scene

PERIOD_S = 1 / 30
MOST_CAMERAS = 40  # on the path: they show viewing directions without hiding it
SPEEDS = (0.25, 0.5, 1.0, 2.0, 5.0)
ERROR_COLOURS = colormaps["turbo"]


@dataclass(frozen=True, eq=False)
class ShownTrajectory:
    """Poses ``map_from_camera``, with small pictures by row and errors (N,) in map units."""

    trajectory: Trajectory
    camera: pycolmap.Camera
    pictures: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    errors: Array | None = None

    @property
    def colours(self) -> NDArray[np.uint8]:
        """Colours (N, 3): by error from blue, exact, to red, the worst of 95 %; grey where that is not known."""
        if self.errors is None:
            return np.tile(np.array(QUERY_COLOUR, np.uint8), (len(self.trajectory), 1))
        colours = (255 * ERROR_COLOURS(np.nan_to_num(self.errors) / self.red_error)[:, :3]).astype(np.uint8)
        colours[np.isnan(self.errors)] = 128
        return colours

    @property
    def red_error(self) -> float:
        """The error that is drawn red."""
        assert self.errors is not None
        return max(float(np.nanpercentile(self.errors, 95)), np.finfo(float).tiny)


class TrajectoryView:
    """Shows a trajectory, and plays it in a separate thread until it is closed."""

    def __init__(self, scene: Scene, shown: ShownTrajectory) -> None:
        self._scene, self.shown = scene, shown
        self.playback = Playback(shown.trajectory.stamps_ns)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._show_static()
        self._frustum = self._scene.show_camera("/camera", self._pose(0), shown.camera, QUERY_COLOUR, size=1.6)
        self._make_controls(scene.server.gui)
        self.show(0)
        self._thread = threading.Thread(target=self._play, name="visloc playback", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop playing."""
        self._closed.set()
        self._thread.join()

    def _pose(self, index: int) -> SE3:
        return self.shown.trajectory.poses[index]

    def _show_static(self) -> None:
        trajectory, colours = self.shown.trajectory, self.shown.colours
        self._scene.show_path("/trajectory/path", trajectory.positions, colours)
        for index in np.unique(np.linspace(0, len(trajectory) - 1, MOST_CAMERAS).round().astype(int)).tolist():
            red, green, blue = colours[index].tolist()
            name = f"/trajectory/cameras/{index}"
            self._scene.show_camera(name, self._pose(index), self.shown.camera, (red, green, blue), size=0.3)

    def _make_controls(self, gui: viser.GuiApi) -> None:
        self._play_button = gui.add_button("Play")
        self._slider = gui.add_slider("Frame", 0, max(1, len(self.shown.trajectory) - 1), 1, 0)
        self._speed = gui.add_dropdown("Speed", [f"{speed:g}x" for speed in SPEEDS], initial_value="1x")
        self._follow = gui.add_checkbox("Follow the camera", False)
        self._words = gui.add_markdown("")

        @self._play_button.on_click
        def _(_: object) -> None:
            with self._lock:
                self.playback.is_playing = not self.playback.is_playing
                self._play_button.label = "Pause" if self.playback.is_playing else "Play"

        @self._slider.on_update
        def _(event: viser.GuiEvent[viser.GuiSliderHandle[int]]) -> None:
            if event.client is not None:  # moved by a person, not by the playback
                with self._lock:
                    self.playback.go_to(min(self._slider.value, len(self.shown.trajectory) - 1))
                self.show(self.playback.index)

        @self._speed.on_update
        def _(_: object) -> None:
            with self._lock:
                self.playback.speed = float(self._speed.value.removesuffix("x"))

    def _play(self) -> None:
        before_s, shown = time.monotonic(), 0
        while not self._closed.wait(PERIOD_S):
            now_s = time.monotonic()
            with self._lock:
                self.playback.advance(now_s - before_s)
                index = self.playback.index
            before_s = now_s
            if index != shown:
                shown = index
                self._slider.value = index  # type: ignore[misc]  # viser writes what it declares read-only
                self.show(index)

    def show(self, index: int) -> None:
        """Show one frame, without playing on from it."""
        pose = self._pose(index)
        with self._scene.server.atomic():
            self._frustum.wxyz, self._frustum.position = pose.quaternion, pose.translation
            self._frustum.image = self.shown.pictures.get(index)
        self._words.content = self._words_for(index)
        if self._follow.value:
            self._scene.follow(pose)

    def _words_for(self, index: int) -> str:
        x, y, z = self._pose(index).translation.tolist()
        unit = self._scene.unit
        lines = [f"**Frame {index + 1} of {len(self.shown.trajectory)}**, {self.playback.time_s:.1f} s"]
        lines.append(f"x {x:.2f}, y {y:.2f}, z {z:.2f} {unit}")
        if self.shown.errors is not None:
            error = self.shown.errors[index]
            known = "error not known" if np.isnan(error) else f"error {error:.3f} {unit}"
            lines.append(f"{known} (red: {self.shown.red_error:.3f} or more)")
        return "  \n".join(lines)


@dataclass
class Playback:
    """Goes through stamps (N,) at ``speed`` times their own, from the beginning again after the end.

    ``index`` is the frame that is shown; it stands still unless ``is_playing``.
    """

    stamps_ns: NDArray[np.int64]
    speed: float = 1.0
    is_playing: bool = False
    _at_ns: float = field(init=False, default=0.0)  # since the first stamp

    @property
    def index(self) -> int:
        """The newest frame that is not ahead of the time that is shown."""
        since_ns = self.stamps_ns - self.stamps_ns[0]
        return max(0, int(np.searchsorted(since_ns, self._at_ns, side="right")) - 1)

    @property
    def time_s(self) -> float:
        """Seconds since the first frame."""
        return self._at_ns / NANOSECONDS

    def go_to(self, index: int) -> None:
        """Show this frame."""
        self._at_ns = float(self.stamps_ns[index] - self.stamps_ns[0])

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        if not self.is_playing:
            return
        last_ns = float(self.stamps_ns[-1] - self.stamps_ns[0])
        self._at_ns += seconds * self.speed * NANOSECONDS
        if self._at_ns > last_ns:
            self._at_ns = 0.0

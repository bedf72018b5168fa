"""Draw the film of the documentation's first page: the simulated camera, found in the map of the demo.

Run: .venv/bin/python tools/draw_demo_film.py docs/images/demo.gif
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.types import Estimate, Frame, Rejection, TrackedPose
from visloc_ros.evaluation.plot_style import LIGHT, STATE_COLOR
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.pipeline import Backend, BackendConfig, BackendListener, InlineAnchors, Localizer
from visloc_ros.simulation import SimulationConfig, simulate

ROOT = Path(__file__).resolve().parents[1]
SHOWN_EVERY, FILM_FPS = 8, 7.5  # of 20 frames a second: three times as fast as it was
WIDTH, HEIGHT, PICTURE_WIDTH = 680, 268, 300
MARGIN, TOP, FINE = 12, 30, 2  # pixels; drawn twice as large, against jagged edges
COLOURS = 32  # of what the camera sees; more make the file larger
WAY, LENS = LIGHT.anchor, "#d9cffb"
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@dataclass(frozen=True)
class Shown:
    """What one picture of the film shows: the frame, its pose, and the map points (N, 3) that hold it."""

    frame: Frame
    estimate: Estimate
    points: Array


class LastPoints(BackendListener):
    """Keeps the points that were followed into the newest frame."""

    points = np.empty((0, 3))

    def on_tracked(self, result: TrackedPose | Rejection, verdict: Rejection | None) -> None:
        """Keep what holds a pose that was accepted."""
        is_good = isinstance(result, TrackedPose) and verdict is None
        self.points = result.inlier_points if is_good else np.empty((0, 3))


def localized(place: Map) -> Iterator[Shown]:
    """The second pass through the simulated room, frame by frame."""
    listener = LastPoints()
    backend = Backend(BackendConfig(), InlineAnchors(AnchorEngine(place), period_s=0.5), listener=listener)
    localizer = Localizer(make_odometry(OdometryConfig()), backend, MapTracker(place))
    for frame in simulate(SimulationConfig(), "localize"):
        yield Shown(frame, localizer.process(frame), listener.points)


class Painter:
    """Draws the map from above with the way of the camera, and what the camera sees beside it."""

    def __init__(self, place: Map) -> None:
        self._points = place.points
        low, high = np.percentile(place.points[:, :2], (1, 99), axis=0)
        space = np.array([WIDTH - PICTURE_WIDTH - 3 * MARGIN, HEIGHT - TOP - MARGIN]) * FINE
        self._scale = float(np.min(space / (high - low)))
        self._corner = np.array([MARGIN, TOP]) * FINE + (space - self._scale * (high - low)) / 2
        self._low, self._high = low, high
        self._font = ImageFont.truetype(str(FONT), 13 * FINE)

    def paint(self, shown: Shown, way: list[Array], seconds: float) -> Image.Image:
        """One picture of the film."""
        canvas = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), "white")
        draw = ImageDraw.Draw(canvas)
        self._dots(draw, self._points, 1.6, LIGHT.points)
        self._dots(draw, shown.points, 3.0, LIGHT.good)
        if len(way) > 1:
            draw.line([self._at(position) for position in way], fill=WAY, width=2 * FINE)
        pose = shown.estimate.map_from_camera
        if pose is not None:
            self._camera(draw, pose)
        colour = STATE_COLOR[shown.estimate.state]
        draw.text((MARGIN * FINE, 7 * FINE), f"{seconds:4.1f} s", LIGHT.muted, self._font)
        draw.text(((MARGIN + 56) * FINE, 7 * FINE), shown.estimate.state.value, colour, self._font)
        left = WIDTH - PICTURE_WIDTH - MARGIN
        words = f"{len(shown.points)} map points hold the pose" if len(shown.points) else "searching"
        draw.text((left * FINE, 7 * FINE), words, LIGHT.ink, self._font)
        canvas = canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        canvas.paste(self._picture(shown, pose), (left, TOP))
        return canvas

    def _at(self, position: Array) -> tuple[float, float]:
        x, y = position[0] - self._low[0], self._high[1] - position[1]
        return float(self._corner[0] + self._scale * x), float(self._corner[1] + self._scale * y)

    def _dots(self, draw: ImageDraw.ImageDraw, points: Array, radius: float, colour: str) -> None:
        inside = np.all((points[:, :2] > self._low - 0.1) & (points[:, :2] < self._high + 0.1), axis=1)
        for x, y in (self._at(point) for point in points[inside]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def _camera(self, draw: ImageDraw.ImageDraw, pose: SE3) -> None:
        ahead, right = pose.rotation[:, 2], pose.rotation[:, 0]
        corners = [pose.translation, *(pose.translation + 0.8 * ahead + side * right for side in (-0.5, 0.5))]
        draw.polygon([self._at(corner) for corner in corners], outline=WAY, fill=LENS, width=2 * FINE)
        x, y = self._at(pose.translation)
        draw.ellipse((x - 4 * FINE, y - 4 * FINE, x + 4 * FINE, y + 4 * FINE), fill=WAY)

    def _picture(self, shown: Shown, pose: SE3 | None) -> Image.Image:
        scale = PICTURE_WIDTH / shown.frame.camera.width
        small = cv2.resize(shown.frame.rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture = Image.fromarray(cv2.bilateralFilter(small, 7, 30, 3))  # noise would take most of the file
        if pose is not None and len(shown.points):
            draw = ImageDraw.Draw(picture)
            for x, y in scale * project(shown.frame.camera, pose.inverse @ shown.points):
                draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=LIGHT.good, outline="white")
        return picture


def write_gif(path: Path, pictures: list[Image.Image]) -> None:
    """Write an animated GIF without end; all pictures have the same colours, the drawing's and the most used."""
    sample = Image.fromarray(np.concatenate([np.asarray(picture) for picture in pictures[::8]]))
    drawn = ("#ffffff", LIGHT.points, LIGHT.good, LIGHT.ink, LIGHT.muted, WAY, LENS, *STATE_COLOR.values())
    palette = Image.new("P", (1, 1))
    used = sample.quantize(COLOURS).getpalette() or []
    palette.putpalette([value for colour in drawn for value in ImageColor.getrgb(colour)] + used[: 3 * COLOURS])
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / FILM_FPS), loop=0, optimize=True)


def main(path: Path) -> None:
    """Localize, draw and write."""
    place = open_map(ROOT / "maps" / "demo_room.tar.gz")
    painter, way, pictures = Painter(place), [], []
    for index, shown in enumerate(localized(place)):
        pose = shown.estimate.map_from_camera
        if pose is not None:
            way.append(pose.translation)
        if index % SHOWN_EVERY == 0:
            pictures.append(painter.paint(shown, way, index / 20.0))
    write_gif(path, pictures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

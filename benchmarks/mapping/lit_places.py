"""One place in five lights: a simulated room, and the frames of a real one in the style of these lights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.places import known_truth, true_pose
from visloc_ros.core.atomic_write import atomic_folder
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS, write_tum
from visloc_ros.core.types import Frame, Image
from visloc_ros.simulation import Simulation, SimulationConfig, write_folder
from visloc_ros.simulation.lighting import Lamp, Light, bake
from visloc_ros.simulation.living_room import LIGHTS, make_living_room
from visloc_ros.simulation.path import PATHS, LaterPath
from visloc_ros.simulation.render import Renderer
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.ros_images import encode_jpeg

CAMERA = SimulationConfig(width=480, height=360, focal_px=360.0, light="none")
_GAMMA = 2.2
_MEAN_LEVEL = 0.45  # of white, at which a camera exposes
_MOST_GAIN = 40.0  # at night; then images stay dark
_WHITE_ELECTRONS, _READ_ELECTRONS = 600.0, 3.0  # of a small sensor in a short exposure, without gain
_LATER_S, _APART_S = 7, 3600  # of walks: on the same loop, and by their stamps
_FLASH_M = 1.0  # distance at which a flash is as strong as stated


@dataclass(frozen=True)
class Lighting:
    """A light in a room, how a camera takes images in it, and the style of these images.

    ``flash`` is the light of one beside the lens, as share of a white surface's at one metre; it falls with the squared
    distance. ``contrast`` is the power of the tone curve. Of the style, ``tint`` are RGB gains, the light falls by
    ``slope`` octaves from the left to the right of an image, and by ``spot`` octaves from the middle to the corners.
    """

    light: Light
    flash: float = 0.0
    exposure_ms: float = 6.0
    contrast: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slope: float = 0.0
    spot: float = 0.0


_WINDOW = Lamp((0.06, 2.7, 1.6), ((0.0, 0.9, 0.0), (0.0, 0.0, 0.7)), (14.0, 9.5, 5.0))
LIGHTINGS: Mapping[str, Lighting] = {
    "day": Lighting(LIGHTS["day"]),
    "evening": Lighting(LIGHTS["evening"], contrast=1.1, tint=(0.9, 0.7, 0.5)),
    "sunset": Lighting(Light((0.16, 0.18, 0.23), (_WINDOW,)), contrast=1.3, tint=(1.0, 0.72, 0.42), slope=4.0),
    "night": Lighting(LIGHTS["night"], exposure_ms=15.0, contrast=1.2, tint=(0.03, 0.022, 0.012), slope=-3.0),
    "flash": Lighting(Light((0.02, 0.024, 0.035), ()), flash=1.5, contrast=1.15, tint=(0.4, 0.42, 0.5), spot=5.0),
}
"""The sky in the window, two lamps, the low sun in the window, one lamp in a corner, and none."""


class LitWalk(Simulation):
    """A walk through a simulated room in a light, exposed as by a small camera; each light has its hour and its way."""

    def __init__(self, seed: int, light: str, pass_name: str, rate_hz: float) -> None:
        lighting, self._hours = LIGHTINGS[light], list(LIGHTINGS).index(light)
        config = replace(CAMERA, rate_hz=rate_hz, exposure_ms=lighting.exposure_ms, seed=seed)
        room, path = make_living_room(seed), LaterPath(PATHS[pass_name], _LATER_S * self._hours)
        super().__init__(config, pass_name, bake(room, lighting.light), path)
        self._lighting = lighting
        self._unlit = Renderer(room, self.camera, config.samples)
        self._distance_per_depth = np.sqrt(1.0 + _squared_tangents(self.camera.height, self.camera.width))

    def stamp_ns(self, index: int) -> int:
        """Stamp of a frame in nanoseconds."""
        return super().stamp_ns(index) + _APART_S * NANOSECONDS * self._hours

    def frame(self, index: int) -> Frame:
        """Render one frame; frames do not depend on each other."""
        linear = _to_linear(self._light_of(slice(0, self.camera.height), self.seconds(index)))
        if self._lighting.flash > 0.0:
            linear += self._flashed(self.pose(index))
        stamp_ns = self.stamp_ns(index)
        image = developed(linear, self._lighting.contrast, np.random.default_rng([self.config.seed, stamp_ns]))
        return Frame(stamp_ns, image, self.camera, f"{stamp_ns}.jpg")

    def _flashed(self, pose: SE3) -> Array:
        """Linear light (H, W, 3) of the flash alone; surfaces seen at a slant are as bright as others."""
        distance = self._unlit.depth(pose) * self._distance_per_depth
        strength = self._lighting.flash * (_FLASH_M / distance) ** 2
        return np.asarray(_to_linear(self._unlit.render(pose)) * strength[..., None])


def lit_walk(folder: Path, seed: int, light: str, pass_name: str, rate_hz: float) -> Path:
    """The recording of a walk through a room in a light; rendered if missing."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(LitWalk(seed, light, pass_name, rate_hz), folder)
    return folder


def styled_frames(folder: Path, source: Path, config: SourceConfig, light: str) -> Path:
    """Frames of a recording in the style of a light, with their true poses; written if missing."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as staged:
            _write_styled(staged, open_source(source, config), LIGHTINGS[light])
    return folder


def _write_styled(folder: Path, frames: FrameSource, lighting: Lighting) -> None:
    truth, poses = known_truth(frames), dict[int, SE3]()
    (folder / "rgb").mkdir()
    for frame in frames:
        (folder / "rgb" / f"{frame.stamp_ns}.jpg").write_bytes(encode_jpeg(styled(frame, lighting)))
        poses[frame.stamp_ns] = true_pose(truth, frame.stamp_ns)
    write_tum(folder / "groundtruth_tum.txt", np.array(list(poses)), list(poses.values()))
    write_camera_yaml(folder / "camera.yaml", frames.camera)


def styled(frame: Frame, lighting: Lighting) -> Image:
    """The image as if it had been taken in a light that falls from one side, or from beside the lens."""
    height, width = frame.image.shape[:2]
    x, y = np.meshgrid(np.linspace(-1.0, 1.0, width), np.linspace(-1.0, 1.0, height))
    octaves = -0.5 * lighting.slope * x - 0.5 * lighting.spot * (x**2 + y**2)
    linear = _to_linear(frame.rgb) * np.exp2(octaves)[..., None] * np.array(lighting.tint)
    return developed(linear, lighting.contrast, np.random.default_rng(frame.stamp_ns))


def developed(linear: NDArray[np.floating], contrast: float, rng: np.random.Generator) -> Image:
    """The image (H, W, 3) of linear light, 1 for white: exposed by its mean, with noise, and a tone curve."""
    gain = min(_MOST_GAIN, _MEAN_LEVEL**_GAMMA / max(float(linear.mean()), 1e-6))
    white = _WHITE_ELECTRONS / max(gain, 1.0)
    electrons = rng.poisson(np.clip(linear * gain, 0.0, 4.0) * white) + rng.normal(0.0, _READ_ELECTRONS, linear.shape)
    seen = np.clip(electrons / white, 0.0, 1.0) ** (contrast / _GAMMA)
    return np.asarray((255.0 * seen + 0.5).astype(np.uint8))


def _to_linear(levels: NDArray[np.generic]) -> Array:
    return np.asarray(np.clip(levels.astype(np.float64) / 255.0, 0.0, 1.0) ** _GAMMA)


def _squared_tangents(height: int, width: int) -> Array:
    x, y = np.meshgrid(np.arange(width) - 0.5 * width, np.arange(height) - 0.5 * height)
    return np.asarray((x**2 + y**2) / CAMERA.focal_px**2)

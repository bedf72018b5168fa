"""A recording in the simulated room: frames, the exact pose of each, and the options of the camera.

As an image folder it is ``rgb/<stamp_ns>.jpg``, ``groundtruth_tum.txt``, ``camera.yaml``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import atomic_folder, restore
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.config import Config, option
from visloc_ros.core.errors import ConfigError, OutputError
from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory, write_tum
from visloc_ros.core.types import Frame, Image
from visloc_ros.simulation.lighting import bake
from visloc_ros.simulation.living_room import LIGHTS, make_living_room
from visloc_ros.simulation.path import PATHS, PosePath
from visloc_ros.simulation.render import Plane, Renderer
from visloc_ros.simulation.room import Room
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.ros_images import encode_jpeg

_log = logging.getLogger(__name__)

PASSES = tuple(PATHS)
_START_S = {"map": 1_700_000_000, "localize": 1_700_003_600}
_LIGHT = {"map": "day", "localize": "evening"}
_TYPICAL_DEPTH_M = 2.5
_MAX_BLUR_SAMPLES = 32
_DRIFT_PERIOD_S = 11.0
_MID_GREY = 128.0
_READ_NOISE_SHARE = 0.3  # of the noise variance at mid grey; the rest is shot noise
# COLMAP model and the coefficients that follow fx, fy, cx, cy.
_LENSES: dict[str, tuple[str, tuple[float, ...]]] = {
    "none": ("PINHOLE", ()),
    "mild": ("OPENCV", (-0.08, 0.02, 0.0004, -0.0003)),
    "strong": ("OPENCV", (-0.28, 0.075, 0.0006, -0.0005)),
    "fisheye": ("OPENCV_FISHEYE", (-0.02, 0.004, -0.002, 0.0003)),
}


@dataclass(frozen=True)
class SimulationConfig(Config):
    """One simulated recording: the camera, its image quality, and its length."""

    width: int = option(640, "image width in pixels", minimum=64, maximum=4096)
    height: int = option(480, "image height in pixels", minimum=48, maximum=4096)
    focal_px: float = option(480.0, "focal length in pixels", minimum=20.0, maximum=20000.0)
    lens: str = option("mild", "lens distortion", choices=tuple(_LENSES))
    rate_hz: float = option(20.0, "images per second", minimum=0.1, maximum=1000.0)
    duration_s: float = option(30.0, "length of a pass in seconds", minimum=0.05, maximum=86400.0)
    seed: int = option(0, "seed of the room's textures and of the sensor noise", minimum=0)
    light: str = option(
        "auto",
        "light in the room; auto: day to map, evening to localize; none: as painted",
        choices=("auto", *LIGHTS, "none"),
    )
    exposure_ms: float = option(
        6.0, "exposure time in ms, which blurs motion; 0 freezes it", minimum=0.0, maximum=1000.0
    )
    readout_ms: float = option(
        0.0,
        "time from the first row's exposure to the last's, of a rolling shutter; 0 for a global one",
        minimum=0.0,
        maximum=100.0,
    )
    exposure_drift_ev: float = option(0.25, "slow change of exposure, amplitude in stops", minimum=0.0, maximum=4.0)
    noise_std: float = option(
        1.5, "sensor noise at mid grey, standard deviation in grey levels", minimum=0.0, maximum=64.0
    )
    vignetting: float = option(0.2, "part of the light lost in the image corners", minimum=0.0, maximum=0.9)
    blackout_start_s: float = option(10.0, "when the lens is covered, in seconds from the start", minimum=0.0)
    blackout_s: float = option(0.0, "for how many seconds the lens is covered; 0 never", minimum=0.0)
    samples: int = option(
        4, "samples a pixel (anti-aliasing); more where motion blur asks for them", minimum=1, maximum=64
    )

    @property
    def num_frames(self) -> int:
        """Images in a pass, at least one."""
        return max(1, round(self.duration_s * self.rate_hz))

    def make_camera(self) -> pycolmap.Camera:
        """Give the camera model; its principal point lies off the image's centre, as in any real camera."""
        model, coefficients = _LENSES[self.lens]
        centre = (0.506 * self.width, 0.493 * self.height)
        params = [self.focal_px, self.focal_px, *centre, *coefficients]
        return pycolmap.Camera(model=model, width=self.width, height=self.height, params=params)


class Simulation:
    """One pass through the room: a source of frames whose ``ground_truth`` holds the exact ``map_from_camera``.

    Stamps are the middle of each exposure, that of the middle row where the shutter rolls. The room is painted when
    the first frame is requested, unless an unlit ``room`` is given. A ``path`` replaces that of the pass.
    """

    def __init__(
        self, config: SimulationConfig, pass_name: str, room: Room | None = None, path: PosePath | None = None
    ) -> None:
        """Raises ConfigError when there is no such pass."""
        if pass_name not in PATHS:
            raise ConfigError(f"unknown pass '{pass_name}'; known: {', '.join(PASSES)}")
        self.config, self.pass_name = config, pass_name
        self.name = f"simulated_{pass_name}"
        self.calibrated = True
        self.camera = config.make_camera()
        self.calibration = CameraCalibration(self.camera, CalibrationSource.RECORDED)
        self._unlit_room = room
        self._path = path or PATHS[pass_name]
        self._sensor = Sensor(config, noise_key=PASSES.index(pass_name))

    def __len__(self) -> int:
        return self.config.num_frames

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> Frame:
        """Render one frame; frames do not depend on each other."""
        seconds = self.seconds(index)
        light = np.concatenate([self._light_of(rows, seconds) for rows in self._rows_read_together(seconds)])
        stamp_ns = self.stamp_ns(index)
        return Frame(stamp_ns, self._sensor.expose(light, index, seconds), self.camera, f"{stamp_ns}.jpg")

    def seconds(self, index: int) -> float:
        """Time of a frame since the start of the pass."""
        return index / self.config.rate_hz

    def stamp_ns(self, index: int) -> int:
        """Stamp of a frame in nanoseconds."""
        return _START_S[self.pass_name] * NANOSECONDS + round(self.seconds(index) * NANOSECONDS)

    def pose(self, index: int) -> SE3:
        """Exact ``map_from_camera`` of a frame."""
        return self._path.pose(self.seconds(index))

    @cached_property
    def ground_truth(self) -> Trajectory:
        """Exact ``map_from_camera`` of all frames."""
        stamps = np.array([self.stamp_ns(index) for index in range(len(self))], dtype=np.int64)
        return Trajectory(stamps, tuple(self.pose(index) for index in range(len(self))))

    @cached_property
    def room(self) -> Room:
        """The room in the light of this pass."""
        light = _LIGHT[self.pass_name] if self.config.light == "auto" else self.config.light
        return _lit_living_room(self.config.seed, light) if self._unlit_room is None else _lit(self._unlit_room, light)

    @cached_property
    def renderer(self) -> Renderer:
        """The renderer of this room."""
        return Renderer(self.room, self.camera, self.config.samples)

    def _light_of(self, rows: slice, seconds: float) -> Plane:
        """Light (R, W, 3) of some rows of the frame at a time, while these are exposed."""
        since_middle = 0.5 * (rows.start + rows.stop) / self.camera.height - 0.5
        read_at = seconds + 1e-3 * self.config.readout_ms * since_middle
        return self.renderer.render_exposure(self._poses_during_exposure(read_at), rows)

    def _rows_read_together(self, seconds: float) -> list[slice]:
        """Bands of rows between which a rolling shutter shifts the image by half a pixel at most."""
        num_bands = max(1, math.ceil(2.0 * self._motion_px(seconds, 1e-3 * self.config.readout_ms)))
        limits = np.linspace(0, self.camera.height, min(num_bands, self.camera.height) + 1).astype(int).tolist()
        return [slice(first, end) for first, end in pairwise(limits)]

    def _motion_px(self, seconds: float, duration_s: float) -> float:
        """About how far the image moves while the camera goes from half a duration before to half of it after."""
        first, last = (self._path.pose(seconds + sign * 0.5 * duration_s) for sign in (-1.0, 1.0))
        turned = math.radians(rotation_angle_deg(first.rotation, last.rotation))
        moved = float(np.linalg.norm(last.translation - first.translation)) / _TYPICAL_DEPTH_M
        return self.config.focal_px * (turned + moved)

    def _poses_during_exposure(self, seconds: float) -> list[SE3]:
        """Poses evenly spread over the exposure, centred on its middle: one a pixel of blur, at least one a sample."""
        exposure = 1e-3 * self.config.exposure_ms
        if exposure == 0:
            return [self._path.pose(seconds)]
        blur_px = math.ceil(self._motion_px(seconds, exposure))
        count = max(self.config.samples, min(blur_px, _MAX_BLUR_SAMPLES))
        return [self._path.pose(seconds + exposure * ((i + 0.5) / count - 0.5)) for i in range(count)]


def _lit(room: Room, light: str) -> Room:
    return room if light == "none" else bake(room, LIGHTS[light])


@lru_cache(maxsize=len(PASSES))
def _lit_living_room(seed: int, light: str) -> Room:
    """One for each pass, shared by recordings of the same room."""
    return _lit(make_living_room(seed), light)


def simulate(
    config: SimulationConfig | None = None,
    pass_name: str = "map",
    room: Room | None = None,
    path: PosePath | None = None,
) -> Simulation:
    """Make a recording of one pass, ``map`` or ``localize``, in the room of the seed or in an unlit ``room``.

    A ``path`` replaces that of the pass. Raises ConfigError when there is no such pass.
    """
    return Simulation(config or SimulationConfig(), pass_name, room, path)


def write_folder(
    simulation: Simulation, path: Path, overwrite: bool = False, on_frame: Callable[[int], None] | None = None
) -> None:
    """Write a recording and its truth; ``on_frame`` receives the number of images written.

    The folder appears only when it is whole. Raises OutputError when it exists (unless ``overwrite``: then the
    old one stays until the new one is whole) or cannot be written.
    """
    restore(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: choose another folder, or allow to overwrite it")
    with atomic_folder(path) as folder:
        (folder / "rgb").mkdir()
        for count, frame in enumerate(simulation, 1):
            (folder / "rgb" / frame.name).write_bytes(encode_jpeg(frame.rgb))
            if on_frame is not None:
                on_frame(count)
        write_tum(folder / "groundtruth_tum.txt", simulation.ground_truth.stamps_ns, simulation.ground_truth.poses)
        write_camera_yaml(folder / "camera.yaml", simulation.camera)
    _log.info("wrote %d images to %s", len(simulation), path)


class Sensor:
    """Turns rendered light into 8-bit images. ``noise_key`` distinguishes recordings of the same seed."""

    def __init__(self, config: SimulationConfig, noise_key: int = 0) -> None:
        self._config, self._noise_key = config, noise_key
        self._vignette = _vignette(config)
        variance = np.float32(config.noise_std**2)
        self._read_variance = _READ_NOISE_SHARE * variance
        self._shot_variance = (1 - _READ_NOISE_SHARE) / _MID_GREY * variance

    def gain(self, seconds: float) -> float:
        """Exposure factor at a time of the recording; 0 while the lens is covered."""
        since_blackout = seconds - self._config.blackout_start_s
        if 0 <= since_blackout < self._config.blackout_s:
            return 0.0
        return float(2.0 ** (self._config.exposure_drift_ev * np.sin(2 * np.pi * seconds / _DRIFT_PERIOD_S)))

    def expose(self, light: NDArray[np.float32], index: int, seconds: float) -> Image:
        """Give the uint8 image of light (H, W, 3); noise depends only on the seed, the key and the image's index."""
        image = light * (self._vignette * np.float32(self.gain(seconds)))
        if self._config.noise_std > 0:
            deviation = np.sqrt(self._read_variance + self._shot_variance * image)
            image += deviation * self._noise(index, image.shape)
        return np.asarray(np.clip(image + 0.5, 0, 255).astype(np.uint8))

    @cached_property
    def _noise_bank(self) -> NDArray[np.float32]:
        """Normal deviates, twice what an image needs: drawing them again for every image is too slow."""
        rng = np.random.default_rng([self._config.seed, self._noise_key])
        return rng.standard_normal(6 * self._config.width * self._config.height, dtype=np.float32)

    def _noise(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Unit noise (H, W, 3) of an image: its own stretch of the bank."""
        rng = np.random.default_rng([self._config.seed, self._noise_key, index])
        count = math.prod(shape)
        start = int(rng.integers(len(self._noise_bank) - count))
        return self._noise_bank[start : start + count].reshape(shape)


def _vignette(config: SimulationConfig) -> NDArray[np.float32]:
    """Share of light (H, W, 1) left, falling with the squared distance from the middle."""
    x, y = np.linspace(-1, 1, config.width), np.linspace(-1, 1, config.height)
    radius_squared = 0.5 * (x[None, :] ** 2 + y[:, None] ** 2)
    return np.asarray(1.0 - config.vignetting * radius_squared[..., None], dtype=np.float32)

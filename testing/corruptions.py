"""Corrupted images, images of no place, and pose priors: what a localizer must refuse, or still use correctly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.map import Map
from visloc_ros.core.types import Frame, Image

_HALF_TURN = np.diag([-1.0, -1.0, 1.0])
_TANGENTIAL = {"OPENCV": (6, 8), "FULL_OPENCV": (6, 8)}
_DISPLAY_GAMMA = 2.2
_READ_ELECTRONS = 2.0  # of a CMOS sensor
_FALSE_DISTANCE_M, _FALSE_ANGLE_DEG = 0.5, 30.0


def mirrored(frame: Frame) -> Frame:
    """The image as a mirror shows it: no camera in the same place can have taken it."""
    return replace(frame, image=np.ascontiguousarray(frame.image[:, ::-1]))


def upside_down(frame: Frame) -> Frame:
    """The image turned by 180 degrees, with the camera that takes it so; see ``turned_upside_down``."""
    image = np.ascontiguousarray(frame.image[::-1, ::-1])
    return replace(frame, image=image, camera=_upside_down_camera(frame.camera))


def turned_upside_down(map_from_camera: SE3) -> SE3:
    """The pose of a camera turned by 180 degrees about its optical axis."""
    return SE3(map_from_camera.rotation @ _HALF_TURN, map_from_camera.translation)


def blurred(frame: Frame, sigma_px: float) -> Frame:
    """The image out of focus."""
    return replace(frame, image=np.asarray(cv2.GaussianBlur(frame.image, (0, 0), sigma_px)))


def with_gamma(frame: Frame, gamma: float) -> Frame:
    """The image with its grey levels raised to a power: above 1 darker, below 1 brighter."""
    return replace(frame, image=_as_image(255.0 * (frame.image / 255.0) ** gamma))


def tinted(frame: Frame, gains: tuple[float, float, float]) -> Frame:
    """The image in coloured light, by a gain each for red, green and blue; a grey image becomes a coloured one."""
    return replace(frame, image=_as_image(frame.rgb * np.array(gains)))


def grainy(frame: Frame, white_electrons: float, rng: np.random.Generator) -> Frame:
    """The image with the noise of few photons: shot noise of ``white_electrons`` where it is white, and read noise."""
    light = (frame.image / 255.0) ** _DISPLAY_GAMMA
    electrons = rng.poisson(white_electrons * light) + rng.normal(0.0, _READ_ELECTRONS, light.shape)
    seen = np.clip(electrons / white_electrons, 0.0, 1.0)
    return replace(frame, image=_as_image(255.0 * seen ** (1.0 / _DISPLAY_GAMMA)))


def occluded(frame: Frame, share: float, rng: np.random.Generator) -> Frame:
    """The image with a textured surface in front of a ``share`` of its width, from the left or from the right."""
    image = frame.image.copy()
    covered = round(share * image.shape[1])
    from_left = bool(rng.integers(2))
    region = image[:, :covered] if from_left else image[:, -covered:]
    region[:] = _cloudy(rng, region.shape[:2], 40.0)[..., None] if image.ndim == 3 else _cloudy(rng, region.shape, 40.0)
    return replace(frame, image=image)


def patterns(camera: pycolmap.Camera, count: int, seed: int) -> Iterator[tuple[str, Frame]]:
    """Frames (kind, frame) that show no place: plain walls, gradients, noise, clouds, and patterns that repeat."""
    rng = np.random.default_rng(seed)
    shape = (camera.height, camera.width)
    for index in range(count):
        kind, paint = list(_PATTERNS.items())[index % len(_PATTERNS)]
        grey = paint(rng, shape)
        yield kind, Frame(index, np.repeat(grey[..., None], 3, axis=2), camera, f"{kind}-{index}")


def _upside_down_camera(camera: pycolmap.Camera) -> pycolmap.Camera:
    turned = pycolmap.Camera(camera.todict())
    turned.principal_point_x = camera.width - camera.principal_point_x
    turned.principal_point_y = camera.height - camera.principal_point_y
    if camera.model.name in _TANGENTIAL:
        first, stop = _TANGENTIAL[camera.model.name]
        params = list(turned.params)
        params[first:stop] = [-value for value in params[first:stop]]
        turned.params = params
    return turned


def _wall(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    return _as_image(rng.uniform(20, 235) + rng.normal(0.0, 2.0, shape))


def _gradient(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    return _as_image(128.0 + 120.0 * (x * np.cos(angle) + y * np.sin(angle)) + rng.normal(0.0, 1.0, shape))


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    return np.asarray(rng.integers(0, 256, shape, dtype=np.uint8))


def _clouds(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    return _cloudy(rng, shape, float(rng.uniform(3.0, 30.0)))


def _checkerboard(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    side = int(rng.integers(15, 80))
    y, x = np.indices(shape)
    return _as_image(60.0 + 140.0 * ((x // side + y // side) % 2) + rng.normal(0.0, 3.0, shape))


def _tiles(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """One random motif over and over."""
    side = int(rng.integers(30, 120))
    motif = _cloudy(rng, (side, side), side / 12)
    repeats = -(-shape[0] // side), -(-shape[1] // side)
    return np.tile(motif, repeats)[: shape[0], : shape[1]]


def _cloudy(rng: np.random.Generator, shape: tuple[int, ...], sigma_px: float) -> Image:
    """Smoothed noise over the full range of grey."""
    smooth = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), sigma_px)
    return _as_image(255.0 * (smooth - smooth.min()) / np.ptp(smooth))


def _as_image(values: np.typing.NDArray[np.float64]) -> Image:
    return np.asarray(np.clip(values, 0.0, 255.0).astype(np.uint8))


_PATTERNS = {
    "wall": _wall,
    "gradient": _gradient,
    "noise": _noise,
    "clouds": _clouds,
    "checkerboard": _checkerboard,
    "tiles": _tiles,
}


def perturbed(map_from_camera: SE3, rng: np.random.Generator, distance_m: float, angle_deg: float) -> SE3:
    """A pose off by exactly this distance and this angle, in a random direction and about a random axis."""
    direction, axis = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    return map_from_camera @ SE3.from_rotation_vector(np.radians(angle_deg) * axis, distance_m * direction)


def false_prior(map_: Map, rng: np.random.Generator, truth: SE3 | None = None) -> SE3:
    """A prior near the pose of a random map image, and far from ``truth`` where such images exist."""
    poses = [image.map_from_camera for image in map_.images]
    far = [pose for pose in poses if truth is None or _is_far(pose, truth)] or poses
    return perturbed(far[int(rng.integers(len(far)))], rng, 0.1, 5.0)


def _is_far(pose: SE3, truth: SE3) -> bool:
    distance = float(np.linalg.norm(pose.translation - truth.translation))
    return distance > _FALSE_DISTANCE_M or rotation_angle_deg(pose.rotation, truth.rotation) > _FALSE_ANGLE_DEG

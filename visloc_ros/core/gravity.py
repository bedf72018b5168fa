"""Gravity in the frame of a camera's path, from an accelerometer that was carried along it.

An accelerometer shows, in the axes of the path's frame, ``g * up + scale * acceleration + rotation * bias``: gravity,
the path's own acceleration times its unknown scale, and an error that turns with the camera. Over half-second blocks
all of this is known except gravity, scale and bias, seven numbers in which it is linear. (Visual-inertial alignment
as in Martinelli 2014 and VINS-Mono, without the gyroscope: the images give the rotation.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory

BLOCK_S = 0.5
MIN_BLOCKS = 3
GRAVITY = 9.81
UP_SIGMA_DEG = 1.0
"""Standard deviation that a measured direction of up is taken for: a bias of 20 mg, and how well a map is levelled."""

_MAX_GRAVITY_ERROR = 0.1
_BIAS_SIGMA = 0.1  # m/s^2, as consumer IMUs have it
_LEAST_NOISE = 0.01  # m/s^2, of the mean over a block
_MIN_SAMPLES = 5
_UNKNOWNS = 4  # that the blocks must determine; the bias also has a prior
_ITERATIONS = 10
_OUTLIER_DEVIATIONS = 3.0
_MAD_TO_SIGMA = 1.4826


class Block(NamedTuple):
    """Means over half a second: what was shown (3,), the path's acceleration (3,) in its units, the rotation (3, 3)."""

    shown: Array
    moved: Array
    turn: Array


class Gravity(NamedTuple):
    """Gravity's upward reaction (3,) in m/s^2 in the frame of a path, with its covariance (3, 3)."""

    vector: Array
    covariance: Array

    @property
    def magnitude(self) -> float:
        """Its magnitude in m/s^2."""
        return float(np.linalg.norm(self.vector))

    @property
    def is_plausible(self) -> bool:
        """Whether it is as strong as on Earth."""
        return abs(self.magnitude / GRAVITY - 1.0) <= _MAX_GRAVITY_ERROR

    @property
    def up(self) -> Array:
        """Unit vector (3,) that points up."""
        return self.vector / self.magnitude

    @property
    def error_deg(self) -> float:
        """Standard deviation of ``up`` in its worst direction, in degrees."""
        across = np.eye(3) - np.outer(self.up, self.up)
        error = np.sqrt(np.linalg.eigvalsh(across @ self.covariance @ across)[-1]) / self.magnitude
        return float(np.degrees(error))


def measure_blocks(
    path: Trajectory, stamps_ns: NDArray[np.int64], in_camera: Array, margin_s: float = 0.0
) -> Iterator[Block]:
    """Half seconds of a path without gaps, as far as there are samples of specific force (N, 3) in m/s^2.

    No block lies within ``margin_s`` of the path's ends, where its velocity is less certain.
    """
    from scipy.interpolate import CubicSpline  # takes 0.3 s, so it is imported only when needed
    from scipy.spatial.transform import Rotation, Slerp

    begin_ns = path.stamps_ns[0]
    images, seconds = ((stamps - begin_ns) / NANOSECONDS for stamps in (path.stamps_ns, stamps_ns))
    turn = Slerp(images, Rotation.from_matrix(np.array([pose.rotation for pose in path.poses])))
    velocity = CubicSpline(images, path.positions).derivative()
    for begin in np.arange(margin_s, images[-1] - margin_s - BLOCK_S + 1e-9, BLOCK_S):
        inside = (seconds >= begin) & (seconds < begin + BLOCK_S)
        if np.sum(inside) >= _MIN_SAMPLES:
            turns = turn(seconds[inside])
            shown = turns.apply(in_camera[inside]).mean(axis=0)
            moved = (velocity(begin + BLOCK_S) - velocity(begin)) / BLOCK_S
            yield Block(shown, moved, turns.as_matrix().mean(axis=0))


def find_gravity(blocks: Sequence[Block]) -> Gravity:
    """Gravity by least squares over ``MIN_BLOCKS`` or more blocks, reweighted with Cauchy's weights."""
    design = np.stack([np.column_stack([np.eye(3), block.moved, block.turn]) for block in blocks])
    shown = np.stack([block.shown for block in blocks])
    prior = np.diag([0.0] * 4 + [_BIAS_SIGMA**-2] * 3)
    weights = np.ones(len(blocks))
    freedom = 3.0 - _UNKNOWNS / len(blocks)  # of a block
    for _ in range(_ITERATIONS):
        information = np.einsum("b,bik,bil->kl", weights, design, design) + prior
        inverse = np.linalg.pinv(information, hermitian=True)
        found = inverse @ np.einsum("b,bik,bi->k", weights, design, shown)
        misfits = np.linalg.norm(shown - design @ found, axis=1) / np.sqrt(freedom)
        noise = max(_MAD_TO_SIGMA * float(np.median(misfits)), _LEAST_NOISE)
        weights = 1.0 / (noise**2 * (1.0 + np.square(misfits / (_OUTLIER_DEVIATIONS * noise))))
    return Gravity(found[:3], inverse[:3, :3])

"""Which way is up in a reconstruction, from an accelerometer that was carried along the camera's path.

An accelerometer shows, in the axes of the path's frame, ``g * up + scale * acceleration + rotation * bias``: gravity,
the path's own acceleration times its unknown scale, and an error that turns with the camera. Over half-second blocks
all of this is known but the seven numbers of gravity, scale and bias, and linear in them. (Visual-inertial alignment
as in Martinelli 2014 and VINS-Mono, without the gyroscope: the images tell the rotation.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.mapping.gravity import Up
from visloc_ros.sources.measurements import Accelerations

_GRAVITY = 9.81
_MAX_GRAVITY_ERROR = 0.1
_BIAS_SIGMA = 0.1  # m/s^2, as consumer IMUs have it
_LEAST_NOISE = 0.01  # m/s^2, of the mean over a block
_BLOCK_S = 0.5
_MIN_BLOCKS = 3
_MIN_SAMPLES = 5
_UNKNOWNS = 4  # that the blocks must tell; the bias is held by what is usual, too
_ITERATIONS = 10
_OUTLIER_DEVIATIONS = 3.0
_MAD_TO_SIGMA = 1.4826


class _Block(NamedTuple):
    """Means over a block: what was shown (3,), the path's acceleration (3,) in its units, the rotation (3, 3)."""

    shown: Array
    moved: Array
    turn: Array


def up_from_accelerations(paths: Sequence[tuple[Trajectory, Accelerations]], max_gap_s: float) -> Up:
    """Where up is, from accelerations along the paths ``sfm_from_camera`` of one or several recordings.

    Samples between images more than ``max_gap_s`` apart are left out; blocks with knocks count little. Raises
    MapError where the samples are too few, or do not show a gravity of 9.8 m/s^2.
    """
    blocks = [block for path, samples in paths for run in _runs(path, max_gap_s) for block in _blocks(run, samples)]
    if len(blocks) < _MIN_BLOCKS:
        raise MapError(
            f"the IMU covers {len(blocks)} half seconds between registered images, {_MIN_BLOCKS} are needed: check "
            "that its stamps are of the same clock as the images'"
        )
    gravity, covariance = _solve(blocks)
    magnitude = float(np.linalg.norm(gravity))
    if abs(magnitude / _GRAVITY - 1.0) > _MAX_GRAVITY_ERROR:
        raise MapError(
            f"the IMU's accelerations show a gravity of {magnitude:.2f} m/s^2 instead of {_GRAVITY}: they must be in "
            "m/s^2 with gravity in them, and the rotation between IMU and camera and both clocks must be right"
        )
    up = gravity / magnitude
    across = np.eye(3) - np.outer(up, up)
    error = np.sqrt(np.linalg.eigvalsh(across @ covariance @ across)[-1]) / magnitude
    return Up(up, float(np.degrees(error)), "imu")


def _runs(path: Trajectory, max_gap_s: float) -> Iterator[Trajectory]:
    """Parts of a path without gaps, of two images and more."""
    breaks = np.flatnonzero(np.diff(path.stamps_ns) > max_gap_s * NANOSECONDS) + 1
    for rows in np.split(np.arange(len(path)), breaks):
        if len(rows) > 1:
            yield Trajectory(path.stamps_ns[rows], path.poses[rows[0] : rows[-1] + 1])


def _blocks(path: Trajectory, samples: Accelerations) -> Iterator[_Block]:
    begin_ns = path.stamps_ns[0]
    images, seconds = ((stamps - begin_ns) / NANOSECONDS for stamps in (path.stamps_ns, samples.stamps_ns))
    turn = Slerp(images, Rotation.from_matrix(np.array([pose.rotation for pose in path.poses])))
    velocity = CubicSpline(images, path.positions).derivative()
    for begin in np.arange(0.0, images[-1] - _BLOCK_S + 1e-9, _BLOCK_S):
        inside = (seconds >= begin) & (seconds < begin + _BLOCK_S)
        if np.sum(inside) >= _MIN_SAMPLES:
            turns = turn(seconds[inside])
            shown = turns.apply(samples.in_camera[inside]).mean(axis=0)
            moved = (velocity(begin + _BLOCK_S) - velocity(begin)) / _BLOCK_S
            yield _Block(shown, moved, turns.as_matrix().mean(axis=0))


def _solve(blocks: Sequence[_Block]) -> tuple[Array, Array]:
    """Gravity (3,) and its covariance (3, 3) by least squares, reweighted with Cauchy's weights."""
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
    return found[:3], inverse[:3, :3]

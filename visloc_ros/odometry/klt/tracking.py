"""Features followed from image to image: forward-backward pyramidal Lucas-Kanade from predicted places.

New corners are found where none are followed yet: one per grid cell, with thresholds that adapt to the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.rolling_shutter import rays_at_middle_row
from visloc_ros.tracking.lucas_kanade import lucas_kanade
from visloc_ros.tracking.pixels import Mask, Pixels, is_inside, pixels_per_ray, undistort
from visloc_ros.tracking.robust_pose import SeenPoints

Ids = NDArray[np.int64]

_ENOUGH_FOLLOWED = 0.5  # share of the features below which a guess is doubted
_NEAR_LEVELS = 1  # of the pyramid, whose half size reaches farther than a near guess is off
_FARTHEST_BACK_PX = 6.0  # within reach at half the size, and far enough from the start that it should come back to
_MOST = 95.0  # percent: near points, which move otherwise than predicted, must be within reach, too
_FEW_LOST = 0.1  # share of the features that are lost with any guess
_SIGMA_SHARE = 0.15  # of the largest error of an inlier: standard deviation of a followed feature, a coordinate
_FORWARD_BACKWARD_PX = 0.5  # from a place to itself (Kalal et al. 2010): as exact as a tracked point is
_BLOCK_PX = 9  # of the corner measure: half a tracking window, so that strong corners track well
_STRIP_ROWS = 96
_STRONG = 99.0  # percentile of the cells' best corners that counts as the image's strongest
_MIN_QUALITY = 0.01  # share of their response below which a corner is noise (goodFeaturesToTrack's usual level)


@dataclass(frozen=True, eq=False)
class Features:
    """Followed features of one image: ids (N,), pixels (N, 2) with (0, 0) a pixel centre, rays (N, 2), pixels per ray.

    Ids are never used twice within a segment.
    """

    ids: Ids
    pixels: Pixels
    rays: Array
    pixels_per_ray: Array

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Mask | NDArray[np.intp]) -> Features:
        return Features(self.ids[rows], self.pixels[rows], self.rays[rows], self.pixels_per_ray[rows])

    @staticmethod
    def none() -> Features:
        """No features at all."""
        return Features(np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.float32), np.empty((0, 2)), np.empty(0))

    def joined(self, other: Features) -> Features:
        """These features followed by the other ones."""
        return Features(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.pixels, other.pixels]),
            np.concatenate([self.rays, other.rays]),
            np.concatenate([self.pixels_per_ray, other.pixels_per_ray]),
        )


def measure(camera: pycolmap.Camera, ids: Ids, pixels: Pixels, turn: Array | None = None) -> Features:
    """Undistort pixels (N, 2); features that the camera model cannot undistort are dropped.

    With a ``turn`` (3,) or (N, 3) while the image is read, rays are those of the instant of its middle row.
    """
    rays, good = undistort(camera, pixels)
    if turn is not None:
        rays = rays_at_middle_row(camera, pixels, rays, turn)
    scale = pixels_per_ray(camera, rays)
    good &= scale > 0.0
    return Features(ids[good], pixels[good], rays[good], scale[good])


def seen_points(points: Array, features: Features, max_error_px: float) -> SeenPoints:
    """Points (N, 3) in odom with their followed pixels; weights no sharper than a share of the largest error."""
    return SeenPoints(points, features.rays, features.pixels_per_ray, _SIGMA_SHARE * max_error_px)


def follow(
    previous: Image, current: Image, pixels: Pixels, guess: Pixels, window_px: int, levels: int
) -> tuple[Pixels, Mask]:
    """Follow pixels (N, 2) from the previous to the current image, starting the search at ``guess`` (N, 2).

    Returns the new pixels and which of them came back to where they started within half a pixel. The way back begins
    as far from its end as the guess was off, or a few pixels, and needs fewer levels.
    """
    found, good = lucas_kanade(previous, current, pixels, guess, window_px, levels)
    good &= is_inside(found, current, 1.0)
    rows = np.flatnonzero(good)
    back = pixels[rows] + np.clip((found - guess)[rows], -_FARTHEST_BACK_PX, _FARTHEST_BACK_PX)
    returned, back_good = lucas_kanade(current, previous, found[rows], back, window_px, min(levels, _NEAR_LEVELS))
    gap = np.linalg.norm(returned - pixels[rows], axis=1)
    good[rows] = back_good & (gap < _FORWARD_BACKWARD_PX)
    return found, good


class Followed(NamedTuple):
    """New pixels (N, 2), which of them (N,) were found, and within how many pixels of their guess most of these are."""

    pixels: Pixels
    good: Mask
    off_px: float = math.inf


def follow_from_any(
    previous: Image,
    current: Image,
    pixels: Pixels,
    guesses: Iterable[Pixels],
    config: KltConfig,
    is_near: bool = False,
) -> Followed:
    """Follow pixels (N, 2) from the first of the guesses (N, 2) that finds most of them, else from the best one.

    From guesses that are ``is_near`` the search begins at half the size, and lost features are searched once more.
    """
    best = Followed(pixels, np.zeros(len(pixels), dtype=bool))
    for guess in guesses:
        usable = np.where(np.isfinite(guess), guess, pixels).astype(np.float32)
        found, good = (_follow_near if is_near else _follow_far)(previous, current, pixels, usable, config)
        if np.count_nonzero(good) > np.count_nonzero(best.good):
            best = Followed(found, good, float(np.percentile(np.linalg.norm((found - usable)[good], axis=1), _MOST)))
        if np.count_nonzero(best.good) >= _ENOUGH_FOLLOWED * len(pixels):
            break
    return best


def _follow_far(
    previous: Image, current: Image, pixels: Pixels, guess: Pixels, config: KltConfig
) -> tuple[Pixels, Mask]:
    return follow(previous, current, pixels, guess, config.window_px, config.pyramid_levels)


def _follow_near(
    previous: Image, current: Image, pixels: Pixels, guess: Pixels, config: KltConfig
) -> tuple[Pixels, Mask]:
    levels = min(config.pyramid_levels, _NEAR_LEVELS)
    found, good = follow(previous, current, pixels, guess, config.window_px, levels)
    lost = np.flatnonzero(~good)
    if len(lost) > _FEW_LOST * len(pixels):
        found[lost], good[lost] = _follow_far(previous, current, pixels[lost], guess[lost], config)
    return found, good


def detect_corners(image: Image, occupied: Pixels, config: KltConfig) -> Pixels:
    """New corners (N, 2), strongest first, away from the occupied places (M, 2), ``max_features`` at most with these.

    They are spread over the image, about one a cell.
    """
    wanted = config.max_features - len(occupied)
    if wanted <= 0:
        return np.empty((0, 2), dtype=np.float32)
    cell = cell_px(image, config)
    response = corner_response(image)
    strongest = float(np.percentile(_cell_peaks(response, cell), _STRONG))
    _blank(response, occupied, cell, config.window_px // 2 + 1)
    places, values = _cell_maxima(response, cell)
    keep = values > max(_MIN_QUALITY * strongest, 1e-9)
    places, values = places[keep], values[keep]
    order = np.argsort(-values, kind="stable")
    return _thin(places[order], 0.5 * cell)[:wanted].astype(np.float32)


def cell_px(image: Image, config: KltConfig) -> int:
    """Side of a cell in pixels so that the image holds ``max_features`` cells."""
    return max(8, int(np.sqrt(image.size / config.max_features)))


def _blank(response: NDArray[np.float32], occupied: Pixels, cell: int, border: int) -> None:
    """Rule out the image border and a disc about every feature there is."""
    response[:border], response[-border:] = 0.0, 0.0
    response[:, :border], response[:, -border:] = 0.0, 0.0
    for x, y in np.rint(occupied).astype(int).tolist():
        cv2.circle(response, (x, y), int(0.7 * cell), 0.0, -1)


def corner_response(image: Image) -> NDArray[np.float32]:
    """Smaller eigenvalue (H, W) of the structure tensor, strip by strip: a whole image does not fit the cache."""
    response = np.empty(image.shape, dtype=np.float32)
    margin = _BLOCK_PX // 2 + 1
    for top in range(0, image.shape[0], _STRIP_ROWS):
        first = max(0, top - margin)
        strip = cv2.cornerMinEigenVal(image[first : top + _STRIP_ROWS + margin], _BLOCK_PX)
        response[top : top + _STRIP_ROWS] = strip[top - first :][:_STRIP_ROWS]
    return response


def _cell_peaks(response: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    """Largest response (rows, columns) of every cell."""
    padded = _whole_cells(response, cell)
    columns = padded.shape[1]
    return np.asarray(padded.reshape(-1, cell, columns).max(axis=1).reshape(-1, columns // cell, cell).max(axis=2))


def _cell_maxima(response: NDArray[np.float32], cell: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Place (C, 2) as x, y and value (C,) of the largest response of every cell."""
    padded = _whole_cells(response, cell)
    rows, columns = padded.shape[0] // cell, padded.shape[1] // cell
    cells = padded.reshape(rows, cell, columns, cell).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    best = cells.argmax(axis=1)
    row, column = np.divmod(np.arange(rows * columns), columns)
    places = np.column_stack([column * cell + best % cell, row * cell + best // cell])
    return places.astype(np.float32), cells[np.arange(len(best)), best]


def _whole_cells(response: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    """The response with zeros to the right and below that complete the last cells."""
    height, width = response.shape
    return np.pad(response, ((0, -height % cell), (0, -width % cell)))


def _thin(places: NDArray[np.float32], distance: float) -> NDArray[np.float32]:
    """Drop every place (strongest first) that lies closer than ``distance`` to a stronger one that is kept."""
    pairs = cKDTree(places).query_pairs(distance, output_type="ndarray") if len(places) else np.empty((0, 2), int)
    keep = np.ones(len(places), dtype=bool)
    for stronger, weaker in pairs[np.lexsort(pairs.T)].tolist():  # by the weaker: all that are stronger are decided
        keep[weaker] &= not keep[stronger]
    return places[keep]

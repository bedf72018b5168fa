"""New corners where none are followed yet: one per grid cell, with thresholds that adapt to the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.config import KltConfig

_BLOCK_PX = 9  # of the corner measure: half a tracking window, so that strong corners track well
_STRIP_ROWS = 96
_STRONG = 99.0  # percentile of the cells' best corners that counts as the image's strongest
_MIN_QUALITY = 0.01  # share of their response below which a corner is noise (goodFeaturesToTrack's usual level)


class FeatureGrid:
    """Spreads at most ``max_features`` corners over the image, about one per cell."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config

    def cell_px(self, image: Image) -> int:
        """Side of a cell in pixels so that the image holds ``max_features`` cells."""
        return max(8, int(np.sqrt(image.size / self._config.max_features)))

    def detect(self, image: Image, occupied: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give new corners (N, 2), strongest first, away from the occupied places (M, 2); (0, 0) is a pixel centre."""
        wanted = self._config.max_features - len(occupied)
        if wanted <= 0:
            return np.empty((0, 2), dtype=np.float32)
        cell = self.cell_px(image)
        response = corner_response(image)
        strongest = float(np.percentile(_cell_peaks(response, cell), _STRONG))
        self._blank(response, occupied, cell)
        places, values = _cell_maxima(response, cell)
        keep = values > max(_MIN_QUALITY * strongest, 1e-9)
        places, values = places[keep], values[keep]
        order = np.argsort(-values, kind="stable")
        return _thin(places[order], 0.5 * cell)[:wanted].astype(np.float32)

    def _blank(self, response: NDArray[np.float32], occupied: NDArray[np.float32], cell: int) -> None:
        """Rule out the image border and a disc about every feature there is."""
        border = self._config.window_px // 2 + 1
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

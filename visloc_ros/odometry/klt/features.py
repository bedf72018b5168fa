"""New corners where none are followed yet: one per grid cell, with thresholds that adapt to the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.config import KltConfig

_BLOCK_PX = 9  # of the corner measure: half a tracking window, so that strong corners are what tracks well
_STRONG = 99.0  # percentile of the cells' best corners that counts as the image's strongest


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
        response = np.asarray(cv2.cornerMinEigenVal(image, _BLOCK_PX), dtype=np.float32)
        strongest = float(np.percentile(_cell_maxima(response, cell)[1], _STRONG))
        self._blank(response, occupied, cell)
        places, values = _cell_maxima(response, cell)
        keep = values > max(self._config.min_quality * strongest, 1e-9)
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


def _cell_maxima(response: NDArray[np.float32], cell: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Place (C, 2) as x, y and value (C,) of the largest response of every cell."""
    rows, columns = -(-response.shape[0] // cell), -(-response.shape[1] // cell)
    padded = np.zeros((rows * cell, columns * cell), dtype=np.float32)
    padded[: response.shape[0], : response.shape[1]] = response
    cells = padded.reshape(rows, cell, columns, cell).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    best = cells.argmax(axis=1)
    row, column = np.divmod(np.arange(rows * columns), columns)
    places = np.column_stack([column * cell + best % cell, row * cell + best // cell])
    return places.astype(np.float32), cells[np.arange(len(best)), best]


def _thin(places: NDArray[np.float32], distance: float) -> NDArray[np.float32]:
    """Drop every place (strongest first) that lies closer than ``distance`` to a stronger one."""
    if len(places) == 0:
        return places
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    close = np.tril(gaps < distance, k=-1)
    keep = np.ones(len(places), dtype=bool)
    for row in range(len(places)):
        keep[row] = not np.any(close[row] & keep)
    return places[keep]

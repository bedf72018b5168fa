"""Block-banded normal equations: factors join only states near each other, so that solving takes linear time."""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors

SIZE = 7  # of a state's error

Indices = NDArray[np.intp]


class BlockBanded:
    """Information of N states, blocks (7, 7) within ``reach`` blocks of the diagonal, and gradient (N, 7).

    Only the lower half is kept: ``blocks[i, k]`` is the block of row ``i + k`` and column ``i``.
    """

    def __init__(self, count: int, reach: int) -> None:
        self.blocks: Array = np.zeros((count, reach + 1, SIZE, SIZE))
        self.gradient: Array = np.zeros((count, SIZE))

    def add(self, factors: LinearFactors) -> None:
        """Add factors of single states, or between states at most ``reach`` apart."""
        weighted = np.swapaxes(factors.jacobians, 1, 2) @ factors.information
        self._add_own(factors.first, weighted, factors.jacobians, factors.residuals)
        if factors.second_jacobians is None:
            return
        weighted = np.swapaxes(factors.second_jacobians, 1, 2) @ factors.information
        self._add_own(factors.second, weighted, factors.second_jacobians, factors.residuals)
        np.add.at(self.blocks, (factors.first, factors.second - factors.first), weighted @ factors.jacobians)

    def _add_own(self, index: Indices, weighted: Array, jacobians: Array, residuals: Array) -> None:
        np.add.at(self.blocks[:, 0], index, weighted @ jacobians)
        np.add.at(self.gradient, index, np.einsum("nij,nj->ni", weighted, residuals))

    def solve_for(self, right: Array) -> Array:
        """Solution (N, 7, K) of right sides (N, 7, K). Raises numpy.linalg.LinAlgError for undetermined states."""
        flat = right.reshape(-1, right.shape[2])
        return np.asarray(cho_solve_banded((self._cholesky, True), flat)).reshape(right.shape)

    def inverse_blocks(self) -> tuple[Array, Array]:
        """Blocks of the inverse: (N, 7, 7) on the diagonal, (N, reach, 7, 7) beside it, by Takahashi's recursion.

        Beside it, ``[i, k]`` has the rows of state i and the columns of i + k + 1.
        """
        across, own = self._columns()
        count, below = across.shape[:2]
        blocks, sides = np.empty((count, SIZE, SIZE)), np.empty((count, below, SIZE))
        window = np.zeros((below, below))  # of the inverse, at the states within reach of the present one
        for index in range(count - 1, -1, -1):
            sides[index] = side = -window @ across[index]
            blocks[index] = corner = own[index] - across[index].T @ side
            window = _moved_up(window, corner, side)
        beside = sides.reshape(count, below // SIZE, SIZE, SIZE)
        return (blocks + np.swapaxes(blocks, 1, 2)) / 2.0, np.swapaxes(beside, 2, 3)

    def _columns(self) -> tuple[Array, Array]:
        """Of each block column of the Cholesky factor: what is below, over its corner L; and ``inv(L @ L.T)``."""
        tall = np.zeros((len(self.gradient), len(self._cholesky), SIZE))
        rows, columns = _lower_half(tall.shape[1])
        tall[:, rows, columns] = self._cholesky[rows - columns, _scalar_columns(len(tall), columns)]
        corners = np.linalg.inv(tall[:, :SIZE])
        return tall[:, SIZE:] @ corners, np.swapaxes(corners, 1, 2) @ corners

    @cached_property
    def _cholesky(self) -> Array:
        """Cholesky factor as LAPACK keeps lower bands: ``[r, c]`` is the element of row ``c + r`` and column ``c``."""
        count, width = self.blocks.shape[:2]
        tall = self.blocks.reshape(count, width * SIZE, SIZE)
        rows, columns = _lower_half(width * SIZE)
        band = np.zeros((width * SIZE, count * SIZE))
        band[rows - columns, _scalar_columns(count, columns)] = tall[:, rows, columns]
        return np.asarray(cholesky_banded(band, lower=True))


def _moved_up(window: Array, corner: Array, side: Array) -> Array:
    """The window on the inverse one state earlier."""
    if len(window) == SIZE:
        return corner
    moved = np.empty_like(window)
    moved[SIZE:, SIZE:] = window[:-SIZE, :-SIZE]
    moved[:SIZE, :SIZE] = corner
    moved[SIZE:, :SIZE] = side[:-SIZE]
    moved[:SIZE, SIZE:] = side[:-SIZE].T
    return moved


@cache
def _lower_half(height: int) -> tuple[Indices, Indices]:
    """Rows and columns of what lies in the lower half of the matrix in a block column (height, 7)."""
    rows, columns = np.indices((height, SIZE))
    inside = rows >= columns
    return rows[inside], columns[inside]


def _scalar_columns(count: int, columns: Indices) -> Indices:
    """Columns (N, ...) in the whole matrix of the same columns (...) in each block column."""
    return SIZE * np.arange(count)[:, None] + columns

"""Normal equations of a chain of states in which each is tied only to near ones: banded, solved in linear time."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.factors import Factors

SIZE = 7  # of a state's error


class BlockBanded:
    """Information of N states, blocks (7, 7) within ``reach`` blocks of the diagonal, and gradient (N, 7).

    Only the lower half is kept: ``blocks[i, k]`` is the block of row ``i + k`` and column ``i``.
    """

    def __init__(self, count: int, reach: int) -> None:
        self.blocks: Array = np.zeros((count, reach + 1, SIZE, SIZE))
        self.gradient: Array = np.zeros((count, SIZE))

    def add(self, factors: Factors, ahead: NDArray[np.intp] | int = 1) -> None:
        """Add factors of single states, or between each state and the one so far ahead, at most ``reach``."""
        first, second = factors.first, factors.first + ahead
        weighted = np.swapaxes(factors.jacobians, 1, 2) @ factors.information
        self._add_own(first, weighted, factors.jacobians, factors.residuals)
        if factors.next_jacobians is None:
            return
        weighted = np.swapaxes(factors.next_jacobians, 1, 2) @ factors.information
        self._add_own(second, weighted, factors.next_jacobians, factors.residuals)
        np.add.at(self.blocks, (first, second - first), weighted @ factors.jacobians)

    def _add_own(self, index: NDArray[np.intp], weighted: Array, jacobians: Array, residuals: Array) -> None:
        np.add.at(self.blocks[:, 0], index, weighted @ jacobians)
        np.add.at(self.gradient, index, np.einsum("nij,nj->ni", weighted, residuals))

    def solve(self) -> Array:
        """Step (N, 7) to the least squares. Raises numpy.linalg.LinAlgError where a state is not held."""
        return self.solve_for(self.gradient)

    def solve_for(self, right: Array) -> Array:
        """Likewise with another right side (N, 7)."""
        return np.asarray(cho_solve_banded((self._cholesky, True), right.reshape(-1))).reshape(-1, SIZE)

    def covariances(self) -> Array:
        """Blocks (N, 7, 7) on the diagonal of the inverse."""
        return self._inverse[0]

    def covariances_ahead(self) -> Array:
        """Blocks (N, reach, 7, 7) of the inverse: ``[i, k]`` with the rows of state i, the columns of i + k + 1."""
        return self._inverse[1]

    @cached_property
    def _inverse(self) -> tuple[Array, Array]:
        """Blocks on the diagonal and beside it, by Takahashi's recursion from the last to the first."""
        across, own = self._columns()
        count, below = across.shape[:2]
        window, blocks = np.zeros((below, below)), np.empty((count, SIZE, SIZE))
        beside = np.empty((count, below // SIZE, SIZE, SIZE))
        for index in range(count - 1, -1, -1):
            side = -window @ across[index]
            corner = own[index] - across[index].T @ side
            blocks[index] = (corner + corner.T) / 2.0
            beside[index] = np.swapaxes(side.reshape(-1, SIZE, SIZE), 1, 2)
            window[SIZE:, SIZE:] = window[:-SIZE, :-SIZE].copy()
            window[:SIZE, :SIZE] = corner
            window[SIZE:, :SIZE] = side[:-SIZE]
            window[:SIZE, SIZE:] = side[:-SIZE].T
        return blocks, beside

    def _columns(self) -> tuple[Array, Array]:
        """Of each block column of the Cholesky factor: what is below, over its corner L; and ``inv(L @ L.T)``."""
        factor, count = self._cholesky, len(self.gradient)
        offset, columns = _band_positions(len(factor))
        scalar_columns = SIZE * np.arange(count)[:, None, None] + columns
        tall = np.where(offset >= 0, factor[np.maximum(offset, 0), scalar_columns], 0.0)
        corners = np.linalg.inv(tall[:, :SIZE])
        return tall[:, SIZE:] @ corners, np.swapaxes(corners, 1, 2) @ corners

    @cached_property
    def _cholesky(self) -> Array:
        return np.asarray(cholesky_banded(self._band(), lower=True))

    def _band(self) -> Array:
        """The matrix as LAPACK keeps lower bands: ``band[r, c]`` is the element of row ``c + r`` and column ``c``."""
        count, width = self.blocks.shape[:2]
        tall = self.blocks.reshape(count, width * SIZE, SIZE)
        offset, columns = _band_positions(width * SIZE)
        band = np.zeros((width * SIZE, count * SIZE))
        rows, within = np.nonzero(offset >= 0)
        scalar_columns = SIZE * np.arange(count)[:, None] + columns[0, within]
        band[offset[rows, within], scalar_columns] = tall[:, rows, within]
        return band


def _band_positions(height: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Distance from the diagonal (height, 7) of the elements of a block column, and their columns (1, 7)."""
    columns = np.arange(SIZE)[None, :]
    return np.arange(height)[:, None] - columns, columns

"""The support of the newest pose by the network's measurements: the only way for dpvo to notice that it is lost.

The limits are geometric, and wide, since the published system has none to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from visloc_dpvo import projection
from visloc_dpvo.state import DpvoState

_MIN_WEIGHT = 0.1
_MAX_RESIDUAL_PX = 4.0  # on the quarter grid


@dataclass(frozen=True)
class MeasurementSupport:
    """Measurements of older patches in the newest frame, how many of them fit its pose, and their mean weight."""

    measured: int
    fitting: int
    mean_weight: float

    @property
    def share(self) -> float:
        """Part of the measurements that fit."""
        return self.fitting / self.measured if self.measured else 0.0


def support_of_newest(state: DpvoState, map_size: tuple[int, int]) -> MeasurementSupport:
    """Count the measurements that are sure, inside maps of (height, width) cells, and near where the pose puts them."""
    newest = state.num_frames - 1
    edges = state.edges
    edges = edges[(edges.jj == newest) & (edges.ii != newest)]
    seen = projection.reproject(state.poses, state.flat_patches, state.intrinsics, edges.ii, edges.jj, edges.kk)
    weight = edges.weight.mean(dim=1)
    fitting = is_fitting(seen[:, :, 1, 1], edges.target, weight, map_size)
    return MeasurementSupport(len(edges), int(fitting.sum()), float(weight.mean()) if len(edges) else 0.0)


def is_fitting(pixels: Tensor, target: Tensor, weight: Tensor, map_size: tuple[int, int]) -> Tensor:
    """Whether measurements (E,) are sure and near the ``pixels`` (E, 2) where the poses put them, inside the map."""
    near: Tensor = (target - pixels).norm(dim=1) < _MAX_RESIDUAL_PX
    return near & _inside(pixels, map_size) & (weight > _MIN_WEIGHT)


def _inside(pixels: Tensor, map_size: tuple[int, int]) -> Tensor:
    height, width = map_size
    x, y = pixels.unbind(1)
    inside: Tensor = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    return inside

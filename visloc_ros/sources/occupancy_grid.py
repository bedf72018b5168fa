"""Occupancy grids of nav2_map_server: a YAML file with the name of an image and its origin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import check_name, read_text
from visloc_ros.core.geometry import Array

_MAX_YAML_BYTES = 1 << 20
_MAX_CELLS = 400_000_000
_REMEDY = "give the YAML file of nav2_map_server's map_saver, with the image beside it"


@dataclass(frozen=True, eq=False)
class OccupancyGrid:
    """Cells (rows, columns), row 0 the lowest in y: true where occupied; ``resolution`` in metres a cell.

    ``origin`` is x, y (metres) and yaw (radians) of the outer corner of cell (0, 0) in the grid's frame.
    """

    occupied: NDArray[np.bool_]
    resolution: float
    origin: tuple[float, float, float]

    def to_frame(self, cells: Array) -> Array:
        """Points (N, 2) of the grid's frame at cells (N, 2): column, row, in which the first one's middle is 0.5."""
        x, y, yaw = self.origin
        turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        return np.asarray(cells * self.resolution @ turn.T + [x, y])

    def to_cells(self, points: Array) -> Array:
        """Cells (N, 2), column and row, at points (N, 2) of the grid's frame."""
        x, y, yaw = self.origin
        turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        return np.asarray((points - [x, y]) @ turn / self.resolution)


def read_occupancy_grid(path: Path) -> OccupancyGrid:
    """Read a map of nav2_map_server (modes trinary and scale). Raises SourceError."""
    try:
        values = yaml.safe_load(read_text(path, SourceError, _MAX_YAML_BYTES, _REMEDY))
        image_path = path.parent / str(values["image"])
        resolution = float(values["resolution"])
        x, y, yaw = (float(value) for value in values["origin"])
        negate, threshold = bool(values.get("negate", 0)), float(values.get("occupied_thresh", 0.65))
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path} is not the file of an occupancy grid ({error}): {_REMEDY}") from error
    numbers = (resolution, x, y, yaw, threshold)
    if not all(map(math.isfinite, numbers)) or resolution <= 0.0:
        raise SourceError(f"{path}: resolution {resolution} and origin ({x}, {y}, {yaw}) cannot be: {_REMEDY}")
    check_name(image_path, SourceError)
    image = cv2.imread(str(image_path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SourceError(f"{image_path}, which {path} names, is not an image that can be read: {_REMEDY}")
    if image.size > _MAX_CELLS:
        raise SourceError(f"{image_path} has {image.size} cells, at most {_MAX_CELLS} are read: crop the grid")
    darkness = np.asarray(image, np.float32) / 255.0 if negate else 1.0 - np.asarray(image, np.float32) / 255.0
    return OccupancyGrid(np.ascontiguousarray(darkness[::-1] > threshold), resolution, (x, y, yaw))

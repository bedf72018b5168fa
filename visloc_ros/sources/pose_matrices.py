"""Poses as matrices of text, a file for each image, as 7-Scenes and 12-Scenes have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import read_text
from visloc_ros.core.geometry import SE3, nearest_rotation

_BOTTOM = (0.0, 0.0, 0.0, 1.0)


def read_pose_matrix(path: Path) -> SE3 | None:
    """The pose of a file with a matrix (4, 4), its rotation made orthonormal; None where it is not finite.

    Scanners write a pose that is not finite where they had lost track. Raises SourceError for what is no pose.
    """
    try:
        matrix = np.array(read_text(path, SourceError, advice=": unpack the sequence again").split(), dtype=np.float64)
        matrix = matrix.reshape(4, 4)
    except ValueError as error:
        raise SourceError(f"cannot read (4, 4) numbers from {path}: unpack the sequence again ({error})") from error
    if not np.all(np.isfinite(matrix)):
        return None
    if not np.allclose(matrix[3], _BOTTOM):
        raise SourceError(f"the last line of the pose {path} is not '0 0 0 1': unpack the sequence again")
    return SE3(nearest_rotation(matrix[:3, :3]), matrix[:3, 3])

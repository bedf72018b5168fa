"""Covariances of a trajectory as text beside its TUM file, which has no place for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS, seconds_to_ns

_UPPER = np.triu_indices(6)


def write_covariances(path: Path, stamps_ns: Sequence[int], covariances: Sequence[Array]) -> None:
    """Write covariances (6, 6) of ``map_from_camera`` as lines of a stamp and the upper triangle, row by row."""
    with path.open("w", encoding="utf-8") as file:
        file.write("# timestamp[s] upper triangle of the covariance: x y z, rotation x y z, about the map's axes\n")
        for stamp_ns, covariance in zip(stamps_ns, covariances, strict=True):
            seconds, nanoseconds = divmod(int(stamp_ns), NANOSECONDS)
            values = " ".join(f"{value:.9e}" for value in covariance[_UPPER])
            file.write(f"{seconds}.{nanoseconds:09d} {values}\n")


def read_covariances(path: Path) -> Mapping[int, Array]:
    """Read covariances (6, 6) by their stamps. Raises SourceError naming the bad line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the covariances {path}: {error}") from error
    numbered = ((number, line.partition("#")[0].split()) for number, line in enumerate(lines, 1))
    return dict(_parse(path, number, words) for number, words in numbered if words)


def _parse(path: Path, number: int, words: list[str]) -> tuple[int, Array]:
    try:
        stamp_ns, values = seconds_to_ns(words[0]), np.array([float(word) for word in words[1:]])
    except ValueError as error:
        raise SourceError(f"{path}:{number}: not a number: {error}") from error
    if len(values) != len(_UPPER[0]) or not np.all(np.isfinite(values)):
        raise SourceError(f"{path}:{number}: expected a stamp and {len(_UPPER[0])} finite numbers")
    covariance = np.zeros((6, 6))
    covariance[_UPPER] = values
    return stamp_ns, covariance + np.triu(covariance, 1).T

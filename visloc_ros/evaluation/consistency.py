"""Consistency of covariances: squared normalised errors (NEES) and innovations (NIS) against chi-square.

A consistent 6-DoF covariance gives values that are 6 in the mean, 95 % of them inside ``NEES_BAND``. Their mean has a
separate band, which narrows with the number of independent values; errors of neighbouring frames are correlated, so
that number is far below the count of frames.

Covariances of a trajectory are text beside its TUM file, which has no place for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.trajectory import NANOSECONDS, seconds_to_ns
from visloc_ros.evaluation.metrics import NEES_BAND, POSE_DOF

_UPPER = np.triu_indices(6)


@dataclass(frozen=True)
class Consistency:
    """Squared normalised errors of one run, compared with those of a consistent covariance.

    Shares are between 0 and 1: ``share_in_band`` inside ``NEES_BAND``, ``share_above_band`` over it, which is where the
    covariance is overconfident. ``mean_band`` holds 95 % of the means of ``independent`` values of a consistent one.
    """

    count: int
    independent: int
    mean: float
    median: float
    mean_band: tuple[float, float]
    share_in_band: float
    share_above_band: float

    @staticmethod
    def of(values: ArrayLike) -> Consistency | None:
        """Consistency of values (N,) in the order of time; those not finite are left out; None when none is left."""
        known = np.asarray(values, dtype=np.float64).reshape(-1)
        known = known[np.isfinite(known)]
        if len(known) == 0:
            return None
        independent = independent_count(known)
        return Consistency(
            count=len(known),
            independent=independent,
            mean=float(known.mean()),
            median=float(np.median(known)),
            mean_band=mean_band(independent),
            share_in_band=float(np.mean((known >= NEES_BAND[0]) & (known <= NEES_BAND[1]))),
            share_above_band=float(np.mean(known > NEES_BAND[1])),
        )


def mean_band(independent: int) -> tuple[float, float]:
    """95 % band of the mean of a number of independent values of a consistent covariance."""
    low, high = (
        chi_square_quantile(probability, POSE_DOF * independent) / independent for probability in (0.025, 0.975)
    )
    return low, high


def independent_count(values: NDArray[np.float64]) -> int:
    """Effective number of independent values among these (N,), by their autocorrelation.

    Correlations are summed up to the first that is not positive: N / (1 + 2 * sum), at least 1.
    """
    centred = values - values.mean()
    power = float(centred @ centred)
    if power <= 0.0:
        return 1
    spectrum = np.abs(np.fft.rfft(centred, 2 * len(values))) ** 2
    correlation = np.fft.irfft(spectrum)[1 : len(values)] / power
    ends = np.flatnonzero(correlation <= 0.0)
    positive = correlation[: ends[0]] if len(ends) else correlation
    return max(1, round(len(values) / (1.0 + 2.0 * float(positive.sum()))))


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

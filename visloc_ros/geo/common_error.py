"""The error that all registered views share: that of the similarity by which their tags placed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.shared_errors import POSITION_ERRORS, priors_of, weights_of
from visloc_ros.core.tangent import similarity_lever_jacobian
from visloc_ros.core.wgs84 import EnuFrame

_COMMON_ERROR, _OLD_KEY = "common_error", "common_sigma_m"
_MOST_COMPARED = 100  # positions that show how errors are shared; more say little more of it
_MOST_AT_ONCE = 500


@dataclass(frozen=True, eq=False)
class CommonError:
    """Covariance (7, 7) of a similarity's error (``core.tangent``) at ``centre`` (3,) of a local frame."""

    centre: Array
    covariance: Array

    def at(self, position: Array) -> Array:
        """Covariance (6, 6) of what it does to a pose at a position (3,)."""
        by_similarity = similarity_lever_jacobian(position - self.centre)[:6]
        return np.asarray(by_similarity @ self.covariance @ by_similarity.T)

    @property
    def sigma_m(self) -> float:
        """Standard deviation of the centre along an axis of the ground, in the mean of all directions."""
        return float(np.sqrt(np.trace(self.covariance[:2, :2]) / 2.0))

    def to_settings(self, frame: EnuFrame) -> dict[str, Any]:
        """Values of ``database.json``."""
        centre = frame.to_geodetic(self.centre)[0].tolist()
        return {_COMMON_ERROR: {"centre": centre, "covariance": self.covariance.tolist()}, _OLD_KEY: None}

    @staticmethod
    def of_settings(settings: Mapping[str, Any], frame: EnuFrame) -> CommonError | None:
        """What ``database.json`` holds; None of a database whose views are not registered. Raises GeoError.

        Databases of earlier versions have a standard deviation of the positions alone.
        """
        try:
            if (sigma_m := settings.get(_OLD_KEY)) is not None:
                found = CommonError(np.zeros(3), np.diag([float(sigma_m) ** 2] * 3 + [0.0] * 4))
            elif (values := settings.get(_COMMON_ERROR)) is not None:
                centre = frame.from_geodetic(np.array(values["centre"], float))[0]
                found = CommonError(centre, np.array(values["covariance"], float))
            else:
                return None
            fault = covariance_fault(found.covariance, 7, is_part=True)
        except (TypeError, ValueError, KeyError) as error:
            raise GeoError(f"the error of the registration in database.json cannot be read: {error}") from error
        if fault is not None:
            raise GeoError(f"the error of the registration in database.json is none, {fault}: register the views again")
        return found


def common_error(placed: Array, tagged: Array, sigmas: Array, up_sigma_rad: float) -> CommonError:
    """The error of a similarity that moved places (N, 3) to ``placed``, as near as it can to ``tagged`` (N, 3).

    ``sigmas`` (N, 3) are of the tags, which may err together; the places were level within ``up_sigma_rad``.
    """
    centre = placed.mean(axis=0)
    of_level = np.eye(7)[3:5] / up_sigma_rad
    jacobian = np.array([similarity_lever_jacobian(one - centre)[:3] for one in placed]) / sigmas[:, :, None]
    residuals = (placed - tagged) / sigmas
    factors = _factors(placed, jacobian, residuals, of_level)
    flat = jacobian.reshape(-1, 7)
    covariance = np.linalg.inv(flat.T @ flat + of_level.T @ of_level)
    gain = np.einsum("ij,nkj->nik", covariance, jacobian)
    level_gain = covariance @ of_level.T
    own = sum(factor * error.own for factor, error in zip(factors, POSITION_ERRORS, strict=True))
    found = level_gain @ level_gain.T + own * np.einsum("nik,njk->ij", gain, gain)
    for first in range(0, len(placed), _MOST_AT_ONCE):
        rows = slice(first, first + _MOST_AT_ONCE)
        distances = np.linalg.norm(placed[rows, None] - placed, axis=2)
        shared = sum(factor * error.shared(distances) for factor, error in zip(factors, POSITION_ERRORS, strict=True))
        found += np.einsum("nik,nm,mjk->ij", gain[rows], shared, gain, optimize=True)
    return CommonError(centre, (found + found.T) / 2.0)


def _factors(placed: Array, jacobian: Array, residuals: Array, of_level: Array) -> Array:
    """Factors (C,) of the ways in which positions share errors, by the residuals of some of them."""
    rows = np.linspace(0, len(placed) - 1, min(len(placed), _MOST_COMPARED)).round().astype(int)
    chosen = jacobian[rows].reshape(-1, 7)
    explained = chosen @ np.linalg.solve(chosen.T @ chosen + of_level.T @ of_level, chosen.T)
    distances = np.linalg.norm(placed[rows, None] - placed[rows], axis=2)
    correlations = [np.asarray(np.kron(error.correlation(distances), np.eye(3))) for error in POSITION_ERRORS]
    return weights_of(correlations, priors_of(POSITION_ERRORS), explained, residuals[rows].ravel())

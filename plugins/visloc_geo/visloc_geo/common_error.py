"""The error that all registered views share: that of the similarity by which their tags placed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.similarity_covariance import similarity_covariance
from visloc_ros.core.tangent import similarity_lever_jacobian
from visloc_ros.core.wgs84 import EnuFrame

_COMMON_ERROR, _OLD_KEY = "common_error", "common_sigma_m"


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
    return CommonError(placed.mean(axis=0), similarity_covariance(placed, tagged, sigmas, up_sigma_rad))

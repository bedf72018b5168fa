"""Options of locating photos among geotagged views; their names are those of geonavpy."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_geo.solving.config import DISPLACEMENT, EXPANSION, SolvingConfig
from visloc_ros.core.config import Config, option

POLICIES = (DISPLACEMENT.upper(), EXPANSION.upper())


@dataclass(frozen=True)
class GeoConfig(Config):
    """Options of locating a photo among geotagged views."""

    k: int = option(10, "Largest number of views of a place that are matched.", minimum=1, maximum=100)
    confidence_thr: float = option(0.2, "Least confidence of a match, by the matcher.", minimum=0.0, maximum=1.0)
    points_distance_thr: float = option(100.0, "Largest distance of a point from a view that sees it [m].", minimum=1.0)
    cameras_distance_thr: float = option(40.0, "Largest distance of views of a place from the next [m].", minimum=0.1)
    rerank: bool = option(True, "Order retrieved views by diffusion over their graph of neighbours.")
    policy: str = option(POLICIES[0], "Points of a pixel: the best one, or all (EXPANSION).", choices=POLICIES)
    verbose: bool = option(False, "Report what each step finds.")

    @property
    def solving(self) -> SolvingConfig:
        """The options of the pose by its matches."""
        return SolvingConfig(
            policy=self.policy.lower(),
            confidence_thr=self.confidence_thr,
            points_distance_thr=self.points_distance_thr,
        )

    @property
    def num_candidates(self) -> int:
        """Number of views that are retrieved, before the places among them are found."""
        return 2 * self.k

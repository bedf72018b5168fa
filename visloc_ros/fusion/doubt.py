"""Doubt in a fix: anchors that it refuses, what they say about it, and where they would rather have the camera."""

from __future__ import annotations

from visloc_ros.core.types import Rejection
from visloc_ros.fusion.alignment import ScalePrior
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.place_search import Place, PlaceSearch
from visloc_ros.fusion.smoother import FixedLagSmoother
from visloc_ros.fusion.window import Fix


class Doubt:
    """Refused anchors since a fix began; ``is_serious`` once they contradict the fix more than chance would."""

    def __init__(self, config: FusionConfig) -> None:
        self._gate = config.gate
        self._search = PlaceSearch(config)
        self._refused_in_a_row = 0
        self.is_serious = False

    def dispel(self) -> None:
        """An anchor was accepted."""
        self._refused_in_a_row, self.is_serious = 0, False

    def add(self, fix: Fix, smoother: FixedLagSmoother) -> Place | None:
        """An anchor was refused; the place to move to where enough of them agree.

        Such as a kidnapped camera, slipped odometry, or a start at the wrong place leave behind.
        """
        self._refused_in_a_row += 1
        self._search.remember(fix)
        # What is left of the scale where the fix may be wrong.
        scale = ScalePrior(smoother.latest_state.log_scale, self._gate.relocation_scale_sigma)
        in_a_row = self._refused_in_a_row >= self._gate.doubt_anchors
        borne_out = self._search.bears_out(fix, smoother.latest_fix.stamp_ns, scale, smoother.odometry)
        self.is_serious = self.is_serious or in_a_row or borne_out
        place = self._search.find(scale)
        return None if isinstance(place, Rejection) or not self._outweighs(place, fix, smoother) else place

    def _outweighs(self, place: Place, fix: Fix, smoother: FixedLagSmoother) -> bool:
        """Whether enough anchors agree on another place, the newest of them included, for those since the first."""
        contradicting = smoother.count_since(place.fixes[0].stamp_ns)
        return fix in place.fixes and len(place.fixes) >= self._gate.relocation_anchors + contradicting

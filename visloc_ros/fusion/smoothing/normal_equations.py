"""Assembly of the normal equations of both smoothers from linearised factors, loops and the prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.fusion.smoothing.arrowhead import ArrowheadSystem
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors
from visloc_ros.fusion.smoothing.state_prior import LinearPrior
from visloc_ros.fusion.smoothing.variance_components import VarianceFactors


@dataclass(frozen=True, eq=False)
class LinearisedGraph:
    """Factors of each kind and the prior at one linearisation point.

    ``reported`` is the ratio of the odometry's noise by its own covariances to the configured one.
    """

    anchors: LinearFactors
    odometry: LinearFactors
    tracked_motions: LinearFactors | None
    sensors: Sequence[LinearFactors]
    loops: LinearFactors | None
    prior: LinearPrior
    reported: VarianceFactors

    def of_first_state(self) -> LinearisedGraph:
        """The part of a graph of two states that involves the first, and is marginalised with it."""
        return replace(self, anchors=self.anchors.at(self.anchors.first == 0), loops=None)

    def equations(self) -> ArrowheadSystem:
        """The normal equations; loops enter as a low-rank update, so that the band stays as wide as without them."""
        tracked = [] if self.tracked_motions is None else [self.tracked_motions]
        reach = max((int(np.max(factors.ahead)) for factors in tracked), default=1)
        equations = ArrowheadSystem(int(self.odometry.first[-1]) + 2, reach)
        for factors in (self.anchors, self.odometry, *tracked, *self.sensors):
            equations.add(factors)
        if self.loops is not None:
            equations.add_low_rank(self.loops)
        equations.add_prior(self.prior.information, self.prior.gradient)
        if self.prior.scales is not None:
            equations.add(self.prior.scales)
        return equations

"""The probability that the pose of a rig is right, by what each camera sees at it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from visloc_ros.core.types import Reason
from visloc_ros.localization.acceptance import USUAL_THICKNESS, InlierSupport

_LARGEST_ODDS = 1e12


def speaks_for(support: InlierSupport) -> bool:
    """Whether what a camera sees is more likely not to be by chance."""
    return support.model.not_by_chance(support) > 0.5


def rig_probability(supports: Sequence[InlierSupport], thickness: float) -> float:
    """Probability that a pose is right where, without a look at it, it is as likely to be wrong.

    ``supports`` are those of the cameras at this pose, ``thickness`` is that of the inliers of all of them. Wrong
    matches of one camera know nothing of those of another: the odds that they do not agree by chance multiply. A camera
    that sees hardly anything says nothing against the pose, because it may be covered. Whether all belongs to one
    object, such as a poster, is asked once, of all inliers.
    """
    odds = 1.0
    for support in supports:
        probability = support.model.not_by_chance(support)
        odds *= max(1.0, min(probability / max(1.0 - probability, 1e-12), _LARGEST_ODDS))
    largest = max(supports, key=lambda one: one.num_inliers)
    spread = float(np.average([one.spread for one in supports], weights=[one.num_inliers for one in supports]))
    together = replace(largest, spread=spread, thickness=thickness)
    return odds / (1.0 + odds) * largest.model.not_one_thing(together)


def rig_refusal(supports: Sequence[InlierSupport], thickness: float, max_risk: float) -> Reason | None:
    """Why the pose is refused at this largest probability of being wrong; None where it is not."""
    if not supports:
        return Reason.FEW_INLIERS
    if 1.0 - rig_probability(supports, thickness) <= max_risk:
        return None
    would_be_taken = 1.0 - rig_probability(supports, USUAL_THICKNESS) <= max_risk
    return Reason.PLANAR_POINTS if would_be_taken and math.isfinite(thickness) else Reason.FEW_INLIERS

"""Times of the anchor engine, stage by stage, and the accuracy of its poses.

Every stage ends with its result in ordinary arrays, so its time includes the GPU's work.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from testing.corruptions import perturbed
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.evaluation.association import truth_at
from visloc_ros.evaluation.decoding import DecodedFrame
from visloc_ros.evaluation.metrics import pose_errors, recall, spread_of
from visloc_ros.evaluation.summary import percentiles
from visloc_ros.localization import AnchorEngine

STAGES: Mapping[str, str] = {
    "decode": "image decode",
    "features": "local features",
    "guided": "guided matching",
    "global": "global descriptor",
    "retrieval": "retrieval",
    "merge": "merge",
    "matching": "matching",
    "correspondences": "2D-3D correspondences",
    "pnp": "PnP",
}
"""The stages; matching is that of nearest neighbours, and of LightGlue where they leave doubt."""

PRIOR_LAG_NS = NANOSECONDS // 10
PRIOR_DISTANCE_M, PRIOR_ANGLE_DEG = 0.05, 2.0


@dataclass(frozen=True)
class FrameTiming:
    """One localization: milliseconds by stage and in all, why there is no pose, and its errors, NaN where unknown."""

    name: str
    stage_ms: Mapping[str, float]
    total_ms: float
    reason: str | None
    num_inliers: int
    position_error_m: float
    rotation_error_deg: float


@dataclass(frozen=True)
class AnchorTimings:
    """All localizations: without a prediction, with one (empty unless asked for), and those that only warmed up."""

    plain: tuple[FrameTiming, ...]
    predicted: tuple[FrameTiming, ...]
    warm_up_ms: tuple[float, ...]


def measure_anchors(
    engine: AnchorEngine,
    frames: Iterable[DecodedFrame],
    truth: Trajectory | None,
    with_prior: bool = False,
    warm_up: int = 2,
) -> AnchorTimings:
    """Localize every frame, also with a predicted pose if chosen; first the first frame ``warm_up`` times.

    The prediction is the true pose 0.1 s earlier, off by 5 cm and 2 degrees; without truth, the last accepted pose.
    Until there is one, frames are localized without it and not counted among the predicted.
    """
    rng = np.random.default_rng(0)
    plain: list[FrameTiming] = []
    predicted: list[FrameTiming] = []
    warm_up_ms: list[float] = []
    last: SE3 | None = None
    for decoded in frames:
        if not plain:
            warm_up_ms = [_localize(engine, decoded, None, truth)[1].total_ms for _ in range(warm_up)]
        result, timing = _localize(engine, decoded, None, truth)
        plain.append(timing)
        if with_prior:
            prior = _predict(decoded.frame, truth, last, rng)
            if prior is not None:
                result, timing = _localize(engine, decoded, prior, truth)
                predicted.append(timing)
            last = result.map_from_camera if isinstance(result, AnchorPose) else last
    return AnchorTimings(tuple(plain), tuple(predicted), tuple(warm_up_ms))


def _predict(frame: Frame, truth: Trajectory | None, last: SE3 | None, rng: np.random.Generator) -> SE3 | None:
    if truth is None:
        return last
    earlier = truth_at(truth, frame.stamp_ns - PRIOR_LAG_NS) or truth_at(truth, frame.stamp_ns)
    return None if earlier is None else perturbed(earlier, rng, PRIOR_DISTANCE_M, PRIOR_ANGLE_DEG)


def _localize(
    engine: AnchorEngine, decoded: DecodedFrame, prior: SE3 | None, truth: Trajectory | None
) -> tuple[AnchorPose | Rejection, FrameTiming]:
    start = time.perf_counter()
    result = engine.localize(decoded.frame, prior)
    total_ms = decoded.decode_ms + 1e3 * (time.perf_counter() - start)
    pose = result.map_from_camera if isinstance(result, AnchorPose) else None
    true_pose = truth_at(truth, result.stamp_ns) if truth else None
    position_error_m, rotation_error_deg = pose_errors([pose], [true_pose])[0]
    timing = FrameTiming(
        name=decoded.frame.name,
        stage_ms={"decode": decoded.decode_ms, **result.stage_ms},
        total_ms=total_ms,
        reason=result.reason.value if isinstance(result, Rejection) else None,
        num_inliers=result.num_inliers if isinstance(result, AnchorPose) else 0,
        position_error_m=float(position_error_m),
        rotation_error_deg=float(rotation_error_deg),
    )
    return result, timing


def summarize_timings(timings: Sequence[FrameTiming]) -> dict[str, Any]:
    """JSON-able figures: percentiles by stage and of the total, errors of the accepted, rejections by reason.

    A stage that did not run on a frame took no time there. Errors are None where no truth is known.
    """
    stages = [stage for stage in STAGES if stage != "guided" or any(stage in one.stage_ms for one in timings)]
    errors = np.array([(one.position_error_m, one.rotation_error_deg) for one in timings]).reshape(-1, 2)
    rejected = Counter(one.reason for one in timings if one.reason is not None)
    return {
        "frames": len(timings),
        "stage_ms": {stage: percentiles(one.stage_ms.get(stage, 0.0) for one in timings) for stage in stages},
        "total_ms": percentiles(one.total_ms for one in timings),
        "position_error_m": spread_of(errors[:, 0]),
        "rotation_error_deg": spread_of(errors[:, 1]),
        "within_5cm_5deg_percent": recall(errors, len(timings))[0].percent if np.isfinite(errors).any() else None,
        "accepted": sum(one.reason is None for one in timings),
        "rejected": dict(rejected.most_common()),
    }

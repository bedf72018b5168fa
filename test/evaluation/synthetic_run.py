"""A made-up run with exactly known errors: a walk around a room with a loss in the middle."""

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Reason, State, Support
from visloc_ros.evaluation.records import AnchorRecord, FrameRecord, InnovationRecord, RunRecord

STEP_NS = 33_333_333
SIGMAS = np.array([0.012, 0.012, 0.008, 0.004, 0.004, 0.006])


def walk(count, step_ns=STEP_NS):
    """True poses of a walk around a room of 6 m x 4 m, the camera looking ahead."""
    angles = np.linspace(0.3, 0.3 + 1.7 * np.pi, count)
    positions = np.column_stack(
        [2.1 * np.cos(angles), 1.3 * np.sin(angles) + 0.2 * np.sin(3 * angles), 1.4 + 0.05 * np.sin(7 * angles)]
    )
    poses = tuple(SE3(rotation_matrix([0, 0, angle]), p) for angle, p in zip(angles, positions, strict=True))
    return Trajectory(np.arange(count) * step_ns, poses)


def perturbed(pose, error):
    """The estimate whose error to ``pose`` is (6,): ``t = t_hat + d[:3]``, ``R = exp(d[3:]) R_hat``."""
    return SE3(rotation_matrix(error[3:]).T @ pose.rotation, pose.translation - error[:3])


def _room_points(random, count):
    walls = random.uniform((-3.0, -2.0, 0.0), (3.0, 2.0, 2.6), (count, 3))
    side = random.integers(0, 4, count)
    walls[side == 0, 0], walls[side == 1, 0] = -3.0, 3.0
    walls[side == 2, 1], walls[side == 3, 1] = -2.0, 2.0
    return walls + random.normal(0.0, 0.015, (count, 3))


def _frame(random, stamp_ns, true_pose, state):
    pose = None
    if state in (State.LOCALIZED, State.DEGRADED):
        widening = 3.0 if state is State.DEGRADED else 1.0
        pose = perturbed(true_pose, random.normal(size=6) * SIGMAS * widening)
    return FrameRecord(
        stamp_ns=int(stamp_ns),
        state=state,
        reason=None if pose is not None else Reason.STALE,
        map_from_camera=pose,
        covariance=None if pose is None else np.diag(np.square(SIGMAS * widening)),
        odometry_tracked=state is not State.LOST,
        odometry_ms=float(random.gamma(20.0, 0.8)),
        odometry_stage_ms={"track": float(random.gamma(9, 0.7)), "pnp": float(random.gamma(9, 0.4)), "adjust": 2.0},
        pose_age_ms=None if pose is None else float(random.gamma(12.0, 1.8)),
        support=_support(state, pose is not None and random.random() < 0.8),
    )


def _support(state, followed):
    if state is State.DEGRADED:
        return Support.ODOMETRY
    if state is not State.LOCALIZED:
        return Support.NONE
    return Support.MAP_TRACKING if followed else Support.ANCHOR


def _innovation(random, anchor):
    """An anchor against its prediction, as a consistent estimator sees it; a refused one is far off."""
    nis = random.chisquare(6) if anchor.fused else 80.0
    return InnovationRecord(anchor.stamp_ns, "anchor", float(nis), bool(anchor.fused))


def _anchor(random, stamp_ns, true_pose, lost):
    if lost:
        reason = Reason.FEW_INLIERS if random.random() < 0.6 else Reason.NO_RETRIEVAL
        return AnchorRecord(
            int(stamp_ns), False, reason, latency_ms=300.0, stage_ms={"extract": 190.0, "retrieve": 4.0}
        )
    covariance = np.diag(np.square(2.0 * SIGMAS))
    stages = {name: float(ms * random.gamma(30, 1 / 30)) for name, ms in ANCHOR_STAGES.items()}
    refused = random.random() < 0.06
    return AnchorRecord(
        stamp_ns=int(stamp_ns),
        accepted=True,
        reason=Reason.ODOMETRY_DISAGREES if refused else None,
        map_from_camera=perturbed(true_pose, random.normal(size=6) * 2.0 * SIGMAS * (12.0 if refused else 1.0)),
        covariance=covariance,
        num_inliers=int(random.integers(40, 300)),
        latency_ms=sum(stages.values()),
        stage_ms=stages,
        fused=not refused,
    )


ANCHOR_STAGES = {"extract": 190.0, "retrieve": 4.0, "match": 330.0, "pnp": 14.0, "refine": 6.0}


def make_synthetic_run(count=600, localized=True, truth=True, seed=3):
    """A run of ``count`` frames; without ``localized`` nothing is ever found in the map."""
    random = np.random.default_rng(seed)
    true = walk(count)
    states = [State.INITIALIZING if i < count // 20 else State.LOCALIZED for i in range(count)]
    for begin, end, state in ((0.55, 0.6, State.DEGRADED), (0.6, 0.64, State.LOST)):
        states[int(begin * count) : int(end * count)] = [state] * (int(end * count) - int(begin * count))
    if not localized:
        states = [State.UNINITIALIZED] * count
    frames = tuple(_frame(random, *item) for item in zip(true.stamps_ns, true.poses, states, strict=True))
    lost = [not localized or 0.54 < i / count < 0.64 for i in range(count)]
    anchors = tuple(
        _anchor(random, true.stamps_ns[i], true.poses[i], lost[i]) for i in range(0, count, max(1, min(9, count // 20)))
    )
    return RunRecord(
        title="Simulated room, second pass",
        frames=frames,
        anchors=anchors,
        innovations=tuple(_innovation(random, anchor) for anchor in anchors if anchor.accepted),
        ground_truth=true if truth else None,
        map_points=_room_points(random, 6000),
        map_camera_positions=walk(40).positions * 0.85 + np.array([0.1, 0.0, 0.2]),
        config={"anchor": {"max_keypoints": 512, "top_k": 5}, "odometry": {"name": "klt", "max_corners": 300}},
        peak_rss_mb=1432.0,
        wall_s=21.4,
        notes=("Replayed at 1.0x through three nodes over DDS.",),
    )

"""From a replay's recording (JSON lines of nodes/replay_node) to the record for reports."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Reason, State, Support
from visloc_ros.evaluation import AnchorRecord, FrameRecord
from visloc_ros.evaluation.records import InnovationRecord

Line = dict[str, Any]
DIAGNOSTICS_S = 1.0  # covered by each message of diagnostics


class Recording:
    """The lines of a recording by topic."""

    def __init__(self, path: Path) -> None:
        self._lines: dict[str, list[Line]] = defaultdict(list)
        with path.open(encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                self._lines[line["topic"]].append(line)

    def frames(self, map_frame: str, odom_frame: str, camera_frame: str) -> tuple[FrameRecord, ...]:
        """One record for every image that was played, with the pose a TF listener finds at its stamp."""
        odom_from_camera, arrivals = self._exact_transforms(odom_frame, camera_frame)
        map_from_odom = self._trajectory(map_frame, odom_frame)
        status, odometry, pose = (self._by_stamp(topic) for topic in ("status", "odometry_status", "pose"))
        return tuple(
            _frame_record(
                image,
                _chain(map_from_odom, odom_from_camera, image["stamp_ns"]),
                arrivals.get(image["stamp_ns"]),
                status.get(image["stamp_ns"]),
                odometry.get(image["stamp_ns"]),
                pose.get(image["stamp_ns"]),
            )
            for image in self._lines["image"]
        )

    @property
    def played_s(self) -> tuple[float, float]:
        """Monotonic times at which the first and the last image were played."""
        images = self._lines["image"]
        return images[0]["arrival_s"], images[-1]["arrival_s"]

    @property
    def localized_s(self) -> tuple[float, float]:
        """The same from the first fix on; where there was none, of the whole replay."""
        begin_s, end_s = self.played_s
        fixes = [line["arrival_s"] for line in self._lines["status"] if line["state"] == State.LOCALIZED.value]
        return min(fixes, default=begin_s), end_s

    def processor_shares(self, interval_s: tuple[float, float]) -> dict[str, float]:
        """Processor seconds a second by stage, as the nodes reported within an interval; equal stages are added up."""
        reported: dict[tuple[str, str], list[float]] = defaultdict(list)
        for line in self._lines["diagnostics"]:
            if interval_s[0] + DIAGNOSTICS_S <= line["arrival_s"] <= interval_s[1]:
                for node, percent_by_stage in line["processor_percent"].items():
                    for stage, percent in percent_by_stage.items():
                        reported[node, stage].append(0.01 * percent)
        shares: dict[str, float] = defaultdict(float)
        for (_, stage), values in reported.items():
            shares[stage] += float(np.mean(values))
        return dict(shares)

    @property
    def odometry_ages_ms(self) -> list[float]:
        """Milliseconds from the playing of an image to the arrival of its odometry, for each image with odometry."""
        odometry = self._by_stamp("odometry_status")
        images = [image for image in self._lines["image"] if odometry.get(image["stamp_ns"], {}).get("tracked")]
        return [1e3 * (odometry[image["stamp_ns"]]["arrival_s"] - image["arrival_s"]) for image in images]

    def anchors(self) -> tuple[AnchorRecord, ...]:
        """One record for every answer of the anchor node."""
        return tuple(_anchor_record(line) for line in self._lines["anchor"])

    def innovations(self) -> tuple[InnovationRecord, ...]:
        """The innovations that the fusion node's gate judged."""
        return tuple(
            InnovationRecord(line["stamp_ns"], line["source"], line["squared"], line["accepted"])
            for line in self._lines["innovation"]
        )

    def configs(self) -> dict[str, dict[str, Any]]:
        """The configuration that each node ran with."""
        return {line["node"]: line["values"] for line in self._lines["config"]}

    def fused_anchors(self) -> tuple[int, int]:
        """Numbers of anchors that the fusion node accepted and refused, by its last count."""
        if not self._lines["status"]:
            return 0, 0
        last = self._lines["status"][-1]
        return last["anchors_accepted"], last["anchors_rejected"]

    @property
    def frames_dropped(self) -> int:
        """Frames that the odometry node skipped or dropped, by its own count, or never received."""
        followed = [line for line in self._lines["odometry_status"] if line["reason"] != Reason.OVERLOADED.value]
        return len(self._lines["image"]) - len(followed)

    def _by_stamp(self, topic: str) -> dict[int, Line]:
        return {line["stamp_ns"]: line for line in self._lines[topic]}

    def _transforms(self, parent: str, child: str) -> Iterable[tuple[int, SE3, float]]:
        for line in self._lines["tf"]:
            for item in line["transforms"]:
                if (item["parent"], item["child"]) == (parent, child):
                    yield item["stamp_ns"], _pose(item["pose"]), line["arrival_s"]

    def _exact_transforms(self, parent: str, child: str) -> tuple[dict[int, SE3], dict[int, float]]:
        found = list(self._transforms(parent, child))
        return {stamp: pose for stamp, pose, _ in found}, {stamp: arrival for stamp, _, arrival in found}

    def _trajectory(self, parent: str, child: str) -> Trajectory:
        by_stamp = {stamp: pose for stamp, pose, _ in self._transforms(parent, child)}
        stamps = sorted(by_stamp)
        return Trajectory(np.array(stamps, dtype=np.int64), tuple(by_stamp[stamp] for stamp in stamps))


def _pose(values: list[float]) -> SE3:
    return SE3.from_quaternion(values[3:], values[:3])


def _chain(map_from_odom: Trajectory, odom_from_camera: dict[int, SE3], stamp_ns: int) -> SE3 | None:
    """Pose at a stamp as tf2 answers it: odometry at its own stamp, ``map -> odom`` interpolated between two."""
    camera = odom_from_camera.get(stamp_ns)
    correction = map_from_odom.interpolate(stamp_ns)
    return None if camera is None or correction is None else correction @ camera


def _frame_record(
    image: Line,
    map_from_camera: SE3 | None,
    arrival_s: float | None,
    status: Line | None,
    odometry: Line | None,
    pose: Line | None,
) -> FrameRecord:
    tracked = odometry is not None and odometry["tracked"]
    reason = (status or {}).get("reason") or (odometry or {}).get("reason")
    return FrameRecord(
        stamp_ns=image["stamp_ns"],
        state=State(status["state"]) if status else State.UNINITIALIZED,
        reason=Reason(reason) if reason else None,
        map_from_camera=map_from_camera,
        covariance=np.array(pose["covariance"]).reshape(6, 6) if pose and map_from_camera else None,
        odometry_tracked=tracked,
        odometry_ms=odometry["latency_ms"] if odometry else None,
        odometry_stage_ms=odometry["stage_ms"] if odometry else {},
        pose_age_ms=(arrival_s - image["arrival_s"]) * 1e3 if arrival_s and map_from_camera else None,
        support=Support(status["support"]) if status and map_from_camera else Support.NONE,
    )


def _anchor_record(line: Line) -> AnchorRecord:
    return AnchorRecord(
        stamp_ns=line["stamp_ns"],
        accepted=line["accepted"],
        reason=Reason(line["reason"]) if line["reason"] else None,
        map_from_camera=_pose(line["pose"]) if line["pose"] else None,
        covariance=np.array(line["covariance"]).reshape(6, 6) if line["covariance"] else None,
        num_inliers=line["num_inliers"],
        probability=line["probability"],
        latency_ms=line["latency_ms"],
        stage_ms=line["stage_ms"],
    )

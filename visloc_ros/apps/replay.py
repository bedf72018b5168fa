"""Plays a bag to the real nodes over DDS and records their output."""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from visloc_ros.apps.processes import NodeProcesses, NodeSpec, camera_remappings, node_environment
from visloc_ros.apps.recording import Recording
from visloc_ros.core.atomic_write import atomic_folder
from visloc_ros.core.errors import OutputError, SetupError
from visloc_ros.core.map import Map
from visloc_ros.core.plugin_nodes import remote_search
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.evaluation import RunRecord
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.base import BAG_METADATA

MAP_FRAME, ODOM_FRAME = "map", "odom"
RECORDED = "recorded"
MOST_DOMAINS, DDS_PORT = 100, 7400  # domains outside the ephemeral ports; port of the first domain
LOOPBACK_ONLY = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


class Layout(Enum):
    """Which nodes share a process; nodes of different processes exchange topics."""

    SEARCH_APART = "search apart"
    """Odometry and fusion in one process, the search in its own."""
    ALL_APART = "all apart"
    COMPOSED = "composed"
    """All in one process."""


@dataclass(frozen=True)
class ReplayPlan:
    """The plan of a replay: the bag, the map, the speed, and the ROS domain.

    A node that dies ends the replay; with ``restart_after_s`` it is started again.
    """

    map_path: Path
    bag: Path
    rate: float = 1.0
    domain_id: int = 0
    parameter_file: Path | None = None
    map_tracking: bool = True
    layout: Layout = Layout.SEARCH_APART
    restart_after_s: float | None = None
    server_url: str = ""
    """Address of another machine with a map of this name, which searches instead of the anchor node."""
    search: str = ""
    """The way of searching, one of ``SEARCHES``; empty: that of the parameter file."""
    recorded_bag: Path | None = None
    """Bag to write all output of the nodes to; an older one is replaced."""


def replay(plan: ReplayPlan, source: BagSource, ground_truth: Trajectory | None) -> RunRecord:
    """Run the nodes on a bag; raises SetupError when a node fails or no node listens."""
    place = open_searchable_map(plan.map_path)  # refuses a broken map before any process starts
    return make_record(plan, source, place, run_nodes(plan, source), ground_truth)


@dataclass(frozen=True)
class NodeRun:
    """The nodes' output during a replay, and the resources of each process, without the player."""

    recording: Recording
    peak_rss_mb: Mapping[str, float]
    processor_share: Mapping[str, float]
    """Processor seconds a second from the first fix on; bundle adjustment is a child process."""
    wall_s: float


def run_nodes(plan: ReplayPlan, source: BagSource) -> NodeRun:
    """Play the bag to the nodes. Raises SetupError when one fails or none listens."""
    with tempfile.TemporaryDirectory(prefix="visloc_replay_") as folder:
        recording_path = Path(folder) / "recording.jsonl"
        begin_s = time.monotonic()
        specs = _specs(plan, source, recording_path)
        with NodeProcesses(specs, Path(folder), _environment(plan), plan.restart_after_s) as processes:
            if processes.wait_for("replay_node") != 0:
                raise SetupError("the replay failed; its last words are above")
        if plan.recorded_bag is not None:
            _keep(Path(folder) / RECORDED, plan.recorded_bag)
        recording = Recording(recording_path)
        nodes = [name for name in processes.peak_rss_mb if name != "replay_node"]
        peak_mb = {name: processes.peak_rss_mb[name] for name in nodes}
        share = {
            name: _share(readings, recording.localized_s)
            for name, readings in processes.processor_s.items()
            if not name.startswith("replay_node")
        }
        return NodeRun(recording, peak_mb, share, time.monotonic() - begin_s)


def _share(processor_s: Sequence[tuple[float, float]], interval_s: tuple[float, float]) -> float:
    """Processor seconds a second of an interval, of readings (monotonic time, processor time so far)."""
    times, spent = np.array(processor_s).T
    begin, end = np.interp(interval_s, times, spent)
    return float((end - begin) / (interval_s[1] - interval_s[0]))


def _keep(bag: Path, target: Path) -> None:
    """Move a new bag to its place, instead of an older one. Raises OutputError."""
    if target.exists() and not (target / BAG_METADATA).is_file():
        raise OutputError(f"{target} exists and is no bag: choose another output folder")
    with atomic_folder(target) as folder:
        shutil.copytree(bag, folder, dirs_exist_ok=True)


def _environment(plan: ReplayPlan) -> dict[str, str]:
    return {**LOOPBACK_ONLY, **node_environment(plan.domain_id or free_domain_id())}


def free_domain_id() -> int:
    """A ROS domain that is not in use on this network interface, so that two replays do not mix.

    Process numbers do not serve: two containers that share the host's network have the same ones. Raises SetupError.
    """
    for domain in random.sample(range(1, MOST_DOMAINS + 1), MOST_DOMAINS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", DDS_PORT + 250 * domain + 10))  # of a domain's first participant (DDSI-RTPS 9.6.1)
            except OSError:
                continue
        return domain
    raise SetupError(f"all {MOST_DOMAINS} ROS domains are in use: end other nodes, or choose one with --domain-id")


def _specs(plan: ReplayPlan, source: BagSource, recording: Path) -> list[NodeSpec]:
    transport = "compressed" if source.compressed else "raw"
    images = camera_remappings(transport, source.image_topic, source.camera_info_topic)
    camera = {"camera.transport": transport, "camera.qos": "reliable"}
    following = {"map_tracking.map_path": str(plan.map_path) if plan.map_tracking else ""}
    simulated_time: dict[str, object] = {"use_sim_time": True}
    frames = {"map_frame": MAP_FRAME, "odom_frame": ODOM_FRAME, "base_frame": source.frame_id}
    searched = {"map_path": str(plan.map_path), **({"anchor.search": plan.search} if plan.search else {})}
    layouts: dict[Layout, dict[str, Mapping[str, object]]] = {
        Layout.SEARCH_APART: {"localization_node": camera | following | frames, **_searching(plan, camera, searched)},
        Layout.ALL_APART: {
            "fusion_node": frames,
            "odometry_node": camera | following,
            "anchor_node": camera | searched,
        },
        Layout.COMPOSED: {"visloc_node": camera | following | frames | searched},
    }
    remote = [remote_search(plan.server_url)] if plan.server_url else []
    modules = {node.executable: node.module for node in remote}
    return [
        *(
            NodeSpec(name, {**own, **simulated_time}, plan.parameter_file, images, module=modules.get(name, ""))
            for name, own in layouts[plan.layout].items()
        ),
        NodeSpec(
            "replay_node",
            {
                "bag": str(plan.bag),
                "image_topic": source.image_topic,
                "recording": str(recording),
                "rate": plan.rate,
                "nodes": " ".join(("odometry_node", "fusion_node", *(modules or ["anchor_node"]))),
                "recorded_bag": "" if plan.recorded_bag is None else str(recording.parent / RECORDED),
            },
        ),
    ]


def _searching(
    plan: ReplayPlan, camera: Mapping[str, object], searched: Mapping[str, object]
) -> dict[str, Mapping[str, object]]:
    """The node that searches, here or on another machine."""
    if plan.server_url:
        asking = {"server_url": plan.server_url, "server_map": plan.map_path.name}
        return {remote_search(plan.server_url).executable: {**camera, **asking}}
    return {"anchor_node": {**camera, **searched}}


def make_record(
    plan: ReplayPlan, source: BagSource, place: Map, run: NodeRun, ground_truth: Trajectory | None
) -> RunRecord:
    """The record of a replay in ``place``, its map, for reports."""
    recording = run.recording
    memory = ", ".join(f"{name} {peak:.0f} MB" for name, peak in run.peak_rss_mb.items())
    by_process, by_stage = (
        ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        for shares in (run.processor_share, recording.processor_shares(recording.localized_s))
    )
    return RunRecord(
        title=f"{plan.bag.stem} in {place.name}, replayed at {plan.rate:g}x",
        frames=recording.frames(MAP_FRAME, ODOM_FRAME, source.frame_id),
        anchors=recording.anchors(),
        ground_truth=ground_truth,
        map_points=place.points,
        map_camera_positions=place.camera_positions,
        config={"map": str(plan.map_path), "bag": str(plan.bag), "rate": plan.rate, "nodes": recording.configs()},
        frames_dropped=recording.frames_dropped,
        peak_rss_mb=sum(run.peak_rss_mb.values()),
        wall_s=run.wall_s,
        notes=(
            f"peak memory by process: {memory}",
            f"processor seconds a second from the first fix on, by process: {by_process}",
            f"processor seconds a second from the first fix on, by stage: {by_stage}",
            "fusion accepted {} anchors and refused {}".format(*recording.fused_anchors()),
        ),
        metric=place.manifest.metric,
        innovations=recording.innovations(),
    )

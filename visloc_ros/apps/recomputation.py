"""The output of the fusion node, recomputed from its recorded inputs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.transform_tree import TransformTree
from visloc_ros.core.types import Mode, OdometryPose, Rejection
from visloc_ros.pipeline import Backend, BackendConfig, BackendListener
from visloc_ros.pipeline.anchors import RemoteAnchors
from visloc_ros.pipeline.backend import BasePrior
from visloc_ros.pipeline.inputs import Input, InputKind
from visloc_ros.pipeline.output import Published
from visloc_ros.pipeline.recorded import LoadedMap, RecordedInputs, play
from visloc_ros.pipeline.segment_numbers import SegmentNumbers
from visloc_ros.sources.bag_messages import iterate_with_definitions, read_custom_data
from visloc_ros.sources.ros_messages import (
    MessageError,
    anchor_from_msg,
    covariance_from_msg,
    loop_closure_from_msg,
    map_identity_from_msg,
    odometry_from_status_msg,
    pose_from_msg,
    prior_from_msg,
    stamp_from_msg,
    tracked_pose_from_msg,
    transform_from_msg,
)

Edge = tuple[str, str]
ReadT = TypeVar("ReadT")
FUSION_NODE = "fusion_node"


@dataclass
class Poses:
    """The output of one run: transforms by edge and stamp (ns), poses with covariance (6, 6) by stamp.

    ``repeated`` are transforms equal to the one before or after them of their edge, with another date: those that a
    timer sends between frames, and the first one of ``map -> odom`` at its frame's own stamp.
    """

    transforms: dict[tuple[Edge, int], SE3] = field(default_factory=dict)
    repeated: set[tuple[Edge, int]] = field(default_factory=set)
    poses: dict[int, tuple[SE3, Array]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The difference of two runs: numbers of poses in each, and the largest difference of any number in them."""

    recorded: int
    recomputed: int
    common: int
    largest_difference: float

    @property
    def is_complete(self) -> bool:
        """Whether each pose of one run has its counterpart in the other."""
        return self.recorded == self.recomputed == self.common


class _Recording:
    """The messages of a recorded bag by type, and the configuration that the fusion node ran with."""

    def __init__(self, bag: Path) -> None:
        config = json.loads(read_custom_data(bag).get(FUSION_NODE, "null"))
        if not isinstance(config, dict) or not isinstance(config.get("fusion"), dict):
            raise SourceError(f"{bag} does not hold the options of the {FUSION_NODE}: record it by 'visloc replay'")
        self._config = config
        self._messages: dict[str, list[Any]] = defaultdict(list)
        for topic, kind, message in iterate_with_definitions(bag):
            self._messages[_name(topic, kind)].append(message)
        self.map_frame, self.odom_frame, self.base_frame = (
            str(config[f"{name}_frame"]) for name in ("map", "odom", "base")
        )

    @property
    def config(self) -> BackendConfig:
        """Options of the back end."""
        return BackendConfig.from_mapping({item.name: self._config[item.name] for item in fields(BackendConfig)})

    @property
    def inputs(self) -> RecordedInputs:
        """The node's inputs."""
        numbers = SegmentNumbers()

        def odometry_from_msg(message: Any) -> OdometryPose | Rejection:
            return numbers.renumbered(odometry_from_status_msg(message), message.frames_received)

        return RecordedInputs(
            odometry=self._read("OdometryStatus", odometry_from_msg),
            anchors=self._read("Anchor", anchor_from_msg),
            tracked=self._read("TrackedPose", tracked_pose_from_msg),
            loops=self._read("LoopClosure", loop_closure_from_msg),
            priors=self._read("initialpose", self._prior_from_msg),
            maps=self._read("loaded_map", _loaded_map_from_msg),
        )

    def _read(self, kind: str, read: Callable[[Any], ReadT]) -> Iterator[ReadT]:
        """Messages of a kind, without those that the node refused."""
        for message in self._messages[kind]:
            with suppress(MessageError):
                yield read(message)

    def _prior_from_msg(self, message: Any) -> BasePrior:
        if message.header.frame_id.removeprefix("/") != self.map_frame:
            raise MessageError("it is not in the frame of the map")
        return BasePrior("/initialpose", *prior_from_msg(message), stamp_from_msg(message.header.stamp))

    @property
    def order(self) -> Iterator[Input]:
        """The joined inputs, in their order. Raises SourceError where the recording does not hold it."""
        for status in self._messages["LocalizationStatus"]:
            try:
                joined = [
                    Input(InputKind(int(number)), stamp_from_msg(stamp))
                    for number, stamp in zip(status.inputs, status.input_stamps, strict=True)
                ]
            except (AttributeError, ValueError) as error:
                text = "the recording does not hold what was joined: it is broken or of another version"
                raise SourceError(text) from error
            yield from joined

    @property
    def places(self) -> TransformTree:
        """What was fixed on the robot."""
        tree = TransformTree()
        for message in self._messages["tf_static"]:
            for item in message.transforms:
                tree.set(item.header.frame_id, item.child_frame_id, transform_from_msg(item.transform))
        return tree

    @property
    def camera_frames(self) -> dict[Input, str]:
        """The camera of each input that names one: of odometry or, where anchors alone give the pose, of these."""
        if Mode(self.config.mode) is Mode.ANCHORS:
            anchors = self._messages["Anchor"]
            return {Input(InputKind.ANCHOR, stamp_from_msg(one.header.stamp)): one.camera_frame_id for one in anchors}
        statuses = self._messages["OdometryStatus"]
        return {Input(InputKind.ODOMETRY, stamp_from_msg(one.header.stamp)): one.header.frame_id for one in statuses}

    @property
    def published(self) -> Poses:
        """The node's output."""
        found, newest = Poses(), dict[Edge, tuple[int, SE3]]()
        edges = {(self.map_frame, self.odom_frame), (self.odom_frame, self.base_frame)}
        for item in (item for message in self._messages["tf"] for item in message.transforms):
            edge = item.header.frame_id, item.child_frame_id
            if edge not in edges:
                continue
            stamp_ns, pose = stamp_from_msg(item.header.stamp), transform_from_msg(item.transform)
            before_ns, before = newest.get(edge, (0, None))
            if before is not None and _difference(before, pose) == 0.0:
                found.repeated |= {(edge, before_ns), (edge, stamp_ns)}
            found.transforms[edge, stamp_ns], newest[edge] = pose, (stamp_ns, pose)
        for message in self._messages["pose"]:
            of_base = pose_from_msg(message.pose.pose), covariance_from_msg(message.pose)
            found.poses[stamp_from_msg(message.header.stamp)] = of_base
        return found


def _loaded_map_from_msg(message: Any) -> LoadedMap:
    return LoadedMap(map_identity_from_msg(message), stamp_from_msg(message.header.stamp), message.requested)


def _name(topic: str, kind: str) -> str:
    """This package's messages by their type if that is of one topic, all others by their topic, in any namespace."""
    is_by_type = kind.startswith("visloc_msgs/") and not kind.endswith("/MapIdentity")
    return (kind if is_by_type else topic).rpartition("/")[2]


class _Collector(BackendListener):
    """Keeps the back end's output, as the fusion node would send it."""

    def __init__(self, recording: _Recording) -> None:
        self.poses = Poses()
        self._map_to_odom = recording.map_frame, recording.odom_frame
        self._odom_to_base = recording.odom_frame, recording.base_frame
        self._ahead_ns = int(recording.config.transform_tolerance * NANOSECONDS)

    def on_published(self, published: Published) -> None:
        """Keep transforms and pose."""
        stamp_ns = published.stamp_ns
        if published.odom_from_base is not None:
            self.poses.transforms[self._odom_to_base, stamp_ns] = published.odom_from_base
        if published.map_from_odom is not None:
            ahead_ns = self._ahead_ns if published.is_dated_ahead else 0
            self.poses.transforms[self._map_to_odom, stamp_ns + ahead_ns] = published.map_from_odom
        if published.pose is not None and published.sends_pose:
            self.poses.poses[stamp_ns] = published.pose.map_from_base, published.pose.covariance


def recompute(bag: Path) -> Comparison:
    """Recompute what a fusion node published from its recorded inputs. Raises SourceError on another kind of bag."""
    recording = _Recording(bag)
    if not recording.config.publish_odom_to_base_tf:
        raise SourceError("the transforms of another node's odometry are not among the inputs: this cannot be computed")
    anchors, collector = RemoteAnchors(), _Collector(recording)
    frames, places = recording.camera_frames, recording.places
    camera_frame = ""

    def base_from_camera() -> SE3 | None:
        return places.lookup(recording.base_frame, camera_frame) if camera_frame else None

    backend = Backend(recording.config, anchors, base_from_camera, collector)

    def follow_camera(one: Input) -> None:
        nonlocal camera_frame
        frame = frames.get(one, camera_frame)
        if camera_frame and frame != camera_frame and one.kind is InputKind.ODOMETRY:
            backend.change_camera(one.stamp_ns, lambda: places.lookup(recording.base_frame, frame))
        camera_frame = frame

    play(recording.inputs, recording.order, backend, anchors, follow_camera)
    return compare(recording.published, collector.poses)


def compare(recorded: Poses, recomputed: Poses) -> Comparison:
    """Compare the poses of two runs; transforms that a timer repeated have no counterpart in the second one."""
    only_repeated = recorded.repeated - recomputed.transforms.keys()
    edges, stamps = (
        recorded.transforms.keys() & recomputed.transforms.keys(),
        recorded.poses.keys() & recomputed.poses.keys(),
    )
    differences = [_difference(recorded.transforms[key], recomputed.transforms[key]) for key in edges]
    for stamp_ns in stamps:
        (one, one_covariance), (other, other_covariance) = recorded.poses[stamp_ns], recomputed.poses[stamp_ns]
        differences += [_difference(one, other), float(np.max(np.abs(one_covariance - other_covariance)))]
    return Comparison(
        len(recorded.transforms) - len(only_repeated) + len(recorded.poses),
        len(recomputed.transforms) + len(recomputed.poses),
        len(edges) + len(stamps),
        max(differences, default=0.0),
    )


def _difference(one: SE3, other: SE3) -> float:
    return float(np.max(np.abs(one.matrix - other.matrix)))

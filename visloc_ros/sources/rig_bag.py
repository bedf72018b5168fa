"""The recording of a rig in one bag: a topic for each camera, and where they are by ``/tf_static``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_messages import list_topics
from visloc_ros.sources.bag_poses import read_static_transforms
from visloc_ros.sources.bag_topics import IMAGE_TYPES
from visloc_ros.sources.base import SourceConfig
from visloc_ros.sources.rig_files import cameras_without_place, read_rig_file
from visloc_ros.sources.rig_recording import RigRecording

_log = logging.getLogger(__name__)


def open_rig_bag(bag: Path, rig_file: Path, config: SourceConfig) -> RigRecording:
    """Open the topics of a rig's cameras in a bag: ``image_topic`` of the rig's file, or the one with their name in it.

    Where the file says no place at all, the rig is the frame that all cameras are fixed to in ``/tf_static``. Raises
    SourceError where the bag holds no camera of the rig, CalibrationError for a camera whose place is not known.
    """
    placeless = cameras_without_place(rig_file)
    if placeless:
        sources = _open_cameras(bag, placeless, config)
        rig = read_rig_file(rig_file, _places(bag, {name: one.frame_id for name, one in sources.items()}))
    else:
        rig = read_rig_file(rig_file)
        sources = _open_cameras(bag, {name: camera.image_topic for name, camera in rig.cameras.items()}, config)
    return RigRecording(bag.stem, rig, sources)


def _open_cameras(bag: Path, topics: Mapping[str, str], config: SourceConfig) -> dict[str, BagSource]:
    """The cameras whose images are in the bag, by name."""
    recorded = [name for name, topic in list_topics(bag).items() if topic.msgtype in IMAGE_TYPES]
    found = {name: _topic_of(name, given, recorded) for name, given in topics.items()}
    missing = ", ".join(name for name, topic in found.items() if not topic)
    if not any(found.values()):
        raise SourceError(f"{bag} holds no images of {missing}: give the image_topic of each in the rig's file")
    if missing:
        _log.warning("%s holds no images of %s: the rig goes on without", bag, missing)
    return {name: BagSource(bag, replace(config, image_topic=topic)) for name, topic in found.items() if topic}


def _topic_of(name: str, given: str, recorded: Collection[str]) -> str:
    """The image topic of a camera, empty where it has none. Raises SourceError where it has several."""
    if given:
        return next((topic for topic in (given, f"{given}/compressed") if topic in recorded), "")
    named = [topic for topic in recorded if name in topic.split("/")]
    if len(named) > 1:
        raise SourceError(f"'{name}' may be {' or '.join(named)}: give its image_topic in the rig's file")
    return named[0] if named else ""


def _places(bag: Path, frames: Mapping[str, str]) -> dict[str, SE3]:
    """``rig_from_camera`` of the cameras by frame id, in the frame at the root of the first one's transforms."""
    for frame, count in Counter(frames.values()).items():
        if count > 1 or not frame:
            alike = " and ".join(f"'{name}'" for name, own in frames.items() if own == frame)
            raise CalibrationError(
                f"the images of {alike} in {bag} have the frame id '{frame}', which does not say where each camera is: "
                "give rig_from_camera of all cameras in the rig's file"
            )
    tree = read_static_transforms(bag)
    root = next(iter(frames.values())).lstrip("/")
    while (step := tree.parent_of(root)) is not None:
        root = step[0]
    found = {}
    for name, frame in frames.items():
        place = tree.lookup(root, frame.lstrip("/"))
        if place is None:
            raise CalibrationError(
                f"no fixed transform joins '{root}' and '{frame}', the frame of '{name}', in /tf_static of {bag}: give "
                "rig_from_camera of all cameras in the rig's file"
            )
        found[name] = place
    return found

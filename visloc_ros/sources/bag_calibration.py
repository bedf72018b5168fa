"""Copies a bag of an uncalibrated camera with the CameraInfo that it lacks, which ROS nodes need."""

from __future__ import annotations

import logging
from pathlib import Path

import pycolmap

from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_messages import deserialize, header_stamp_ns, iterate_serialized, typestore
from visloc_ros.sources.bag_topics import CAMERA_INFO, camera_info_beside
from visloc_ros.sources.bag_writer import BagWriter

logger = logging.getLogger(__name__)


def copy_with_camera_info(source: BagSource, bag: Path, copy: Path, camera: pycolmap.Camera) -> None:
    """Copy a whole bag, with ``camera`` as the CameraInfo of the images of ``source``.

    Messages of types that are not ROS 2's own are left out, and logged. Raises OutputError, SourceError and
    CalibrationError where ROS has no name for the camera's model.
    """
    topic = source.camera_info_topic or camera_info_beside(source.image_topic)
    unknown: set[str] = set()
    with BagWriter(copy) as writer:
        for message in iterate_serialized(bag):
            if message.topic == topic and message.msgtype == CAMERA_INFO:
                continue
            if message.msgtype not in typestore().fielddefs:
                unknown.add(message.topic)
                continue
            if message.topic == source.image_topic:
                stamp_ns = header_stamp_ns(deserialize(message))
                writer.write_camera_info(topic, stamp_ns, source.frame_id, camera, message.receive_time_ns)
            writer.write_serialized(message)
    if unknown:
        logger.warning("left out topics whose types are not ROS 2's own: %s", ", ".join(sorted(unknown)))

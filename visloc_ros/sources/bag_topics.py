"""The camera's topics in a bag: named by the user, or found by type and name."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.sources.bag_messages import BagTopic

logger = logging.getLogger(__name__)

RAW_IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
IMU = "sensor_msgs/msg/Imu"
IMAGE_TYPES = (RAW_IMAGE, COMPRESSED_IMAGE)
POSE_TYPES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    ODOMETRY,
)
# Image transports that send video, of which a message alone is no image.
_VIDEO_TRANSPORTS = {
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "ffmpeg",
    "theora_image_transport/msg/Packet": "theora",
    "foxglove_msgs/msg/CompressedVideo": "foxglove",
}

_TRUTH_NAME = re.compile(r"ground_?truth|(?<![a-z0-9])gt(?![a-z0-9])", re.IGNORECASE)

Topics = Mapping[str, BagTopic]


def find_image_topic(topics: Topics, wanted: str) -> str:
    """Name of the image topic. Raises SourceError that lists the candidates when there is none or several."""
    if wanted:
        return _check_type(topics, wanted, IMAGE_TYPES)
    candidates = _of_type(topics, IMAGE_TYPES)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise SourceError(f"the bag has several image topics ({', '.join(candidates)}): name one as image_topic")
    videos = [_video_words(name, topic.msgtype) for name, topic in topics.items() if topic.msgtype in _VIDEO_TRANSPORTS]
    raise SourceError("; ".join(["the bag has no image topic", *videos]) + f"; it has {_describe(topics)}")


def find_camera_info_topic(topics: Topics, image_topic: str, wanted: str) -> str:
    """Name of the CameraInfo topic: the one beside the image, or the only one of a bag with a single image topic.

    Empty when the bag has none. Raises CalibrationError when it is not clear which one it is, SourceError when the one
    wanted is not there.
    """
    if wanted:
        return _check_type(topics, wanted, (CAMERA_INFO,))
    candidates = _of_type(topics, (CAMERA_INFO,))
    beside = camera_info_beside(image_topic)
    if beside in candidates:
        return beside
    if len(candidates) == 1 and len(_of_type(topics, IMAGE_TYPES)) == 1:
        return candidates[0]
    if not candidates:
        return ""
    raise CalibrationError(
        f"the bag has no CameraInfo on {beside}, but there is {', '.join(candidates)}: name the right one as "
        "camera_info_topic, or give the camera's calibration file as 'camera'"
    )


def camera_info_beside(image_topic: str) -> str:
    """Name that the CameraInfo of an image topic has by ROS' convention."""
    return f"{image_topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"


def find_ground_truth_topic(topics: Topics, wanted: str) -> str | None:
    """Name of the topic of true poses, or None. Raises SourceError when the one wanted is not there."""
    if wanted:
        return _check_type(topics, wanted, (*POSE_TYPES, TRANSFORMS))
    candidates = [name for name in _of_type(topics, POSE_TYPES) if _TRUTH_NAME.search(name)]
    if len(candidates) > 1:
        logger.warning("several topics look like ground truth (%s): name one to use it", ", ".join(candidates))
    return candidates[0] if len(candidates) == 1 else None


def find_measurement_topic(topics: Topics, wanted: str, msgtype: str) -> str | None:
    """Name of the requested topic, or None. Raises SourceError when it is missing or of another type.

    Without a name none is used: a bag's odometry is often visual itself, and its IMU not calibrated.
    """
    return _check_type(topics, wanted, (msgtype,)) if wanted else None


def _of_type(topics: Topics, msgtypes: tuple[str, ...]) -> list[str]:
    """Topics of these types that hold messages; depth images, which look like any other image, by name left out."""
    return [
        name
        for name, topic in topics.items()
        if topic.msgtype in msgtypes and topic.num_messages and not name.endswith("/compressedDepth")
    ]


def _check_type(topics: Topics, wanted: str, msgtypes: tuple[str, ...]) -> str:
    topic = topics.get(wanted)
    if topic is None:
        raise SourceError(f"the bag has no topic {wanted}; it has {_describe(topics)}")
    if topic.msgtype in _VIDEO_TRANSPORTS:
        raise SourceError(_video_words(wanted, topic.msgtype))
    if topic.msgtype not in msgtypes:
        raise SourceError(f"{wanted} is a {topic.msgtype}, not one of {', '.join(msgtypes)}")
    if topic.num_messages == 0:
        raise SourceError(f"{wanted} holds no message; the bag has {_describe(topics)}")
    return wanted


def _video_words(name: str, msgtype: str) -> str:
    return (
        f"{name} holds video: replay it, make images of it by 'ros2 run image_transport republish "
        f"{_VIDEO_TRANSPORTS[msgtype]} raw', and record these"
    )


def _describe(topics: Topics) -> str:
    return (
        ", ".join(f"{name} ({topic.num_messages} x {topic.msgtype})" for name, topic in topics.items()) or "no topics"
    )

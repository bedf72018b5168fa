"""Small exactly known images, folders and bags that the tests of sources are made of, and where the real data lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WIDTH, HEIGHT = 64, 48
STORE = get_typestore(Stores.ROS2_JAZZY)
PLUGINS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}

POINTS = np.array([[0.3, -0.2, 1.0], [-0.4, 0.25, 1.5], [0.0, 0.0, 2.0], [0.5, 0.4, 2.0]])  # in front of a camera
K = [400.0, 0.0, 319.5, 0.0, 410.0, 239.5, 0.0, 0.0, 1.0]
CAMERAS = {
    "SIMPLE_PINHOLE": [400, 321.5, 239],
    "PINHOLE": [400, 410, 321.5, 239],
    "SIMPLE_RADIAL": [400, 321.5, 239, -0.1],
    "RADIAL": [400, 321.5, 239, -0.1, 0.02],
    "OPENCV": [400, 410, 321.5, 239, -0.28, 0.07, 0.0002, 0.00002],
    "FULL_OPENCV": [400, 410, 321.5, 239, 0.1, -0.05, 0.001, -0.0005, 0.01, 0.2, -0.03, 0.004],
    "OPENCV_FISHEYE": [400, 410, 321.5, 239, 0.0008, 0.031, -0.03, 0.005],
    "SIMPLE_FISHEYE": [400, 321.5, 239],
    "FISHEYE": [400, 410, 321.5, 239],
    "SIMPLE_RADIAL_FISHEYE": [400, 321.5, 239, 0.02],
    "RADIAL_FISHEYE": [400, 321.5, 239, 0.02, -0.003],
}


def shared_data(name: str) -> Path:
    folder = SHARED_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the real data '{name}' are not on this machine")
    return folder


def colour_image(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Smooth RGB image, so that JPEG keeps it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(image: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def write_images(folder: Path, names: Sequence[str]) -> list[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    images = [colour_image(seed) for seed in range(len(names))]
    for name, image in zip(names, images, strict=True):
        (folder / name).write_bytes(encode(image, Path(name).suffix))
    return images


def truncate(path: Path, fraction: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


def make(msgtype: str, **fields: Any) -> Any:
    return STORE.types[msgtype](**fields)


def header(stamp_ns: int) -> Any:
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id="left_optical")


def raw_image(stamp_ns: int, image: np.ndarray) -> Any:
    height, width = image.shape[:2]
    encoding = "mono8" if image.ndim == 2 else "rgb8"
    data = np.ascontiguousarray(image).ravel()
    return make(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=len(data) // height,
        data=data,
    )


def compressed_image(stamp_ns: int, data: bytes) -> Any:
    return make(
        "sensor_msgs/msg/CompressedImage",
        header=header(stamp_ns),
        format="jpeg",
        data=np.frombuffer(data, dtype=np.uint8),
    )


def camera_info(stamp_ns: int, width: int = WIDTH, height: int = HEIGHT, focal: float = 60.0, binning: int = 0) -> Any:
    k = np.array([focal, 0, width / 2 - 0.5, 0, focal, height / 2 - 0.5, 0, 0, 1.0])
    roi = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header(stamp_ns),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=k,
        r=np.eye(3).ravel(),
        p=np.zeros(12),
        binning_x=binning,
        binning_y=binning,
        roi=roi,
    )


def write_messages(
    path: Path,
    messages: Sequence[tuple[str, int, Any]],
    storage: str = "mcap",
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write (topic, time of reception in ns, message) as a bag."""
    writer = Writer(path, version=8, storage_plugin=PLUGINS[storage])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for topic, receive_time_ns, message in messages:
            msgtype = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=STORE)
            writer.write(connections[topic], receive_time_ns, STORE.serialize_cdr(message, msgtype))
    return path


def raw_bag(path: Path, stamps_ns: Sequence[int], storage: str = "mcap", begin_ns: int = 1) -> Path:
    """Bag of raw colour images with their CameraInfo, received one nanosecond apart in the order given."""
    messages: list[tuple[str, int, Any]] = [("/left/camera_info", begin_ns, camera_info(1))]
    for index, stamp_ns in enumerate(stamps_ns):
        messages.append(("/left/image_raw", begin_ns + 1 + index, raw_image(stamp_ns, colour_image(index))))
    return write_messages(path, messages, storage)

"""Opens any source, whose kind is determined from its content."""

from __future__ import annotations

from pathlib import Path

from visloc_ros.core.atomic_write import restore
from visloc_ros.core.errors import ConfigError, SetupError, SourceError
from visloc_ros.core.files import check_file, check_name, exists
from visloc_ros.sources.base import BAG_METADATA, BAG_SUFFIXES, FrameSource, SourceConfig, bag_stem
from visloc_ros.sources.folder import open_folder, open_photo
from visloc_ros.sources.layouts import IMAGE_SUFFIXES
from visloc_ros.sources.video import VIDEO_SUFFIXES, VideoSource
from visloc_ros.sources.video_file import holds_video

LARGEST_VIDEO_BYTES = 1 << 44


def open_source(path: Path, config: SourceConfig | None = None) -> FrameSource:
    """Open a video, a photo, a folder of images or a ROS 2 bag (folder, .mcap or .db3, or one of these packed by zstd).

    Raises SourceError when there is nothing readable at ``path``, CalibrationError when a bag has no intrinsics or
    they do not fit the images, ConfigError when an option does not fit the source.
    """
    config = config or SourceConfig()
    restore(path)
    if not exists(path):
        raise SourceError(f"there is no video, image folder or bag at {path}")
    check_name(path, SourceError)
    try:
        return _open_existing(path, config)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error}") from error


def _open_existing(path: Path, config: SourceConfig) -> FrameSource:
    if is_bag(path):
        return _open_bag(path, config)
    for name in ("odometry_topic", "imu_topic"):
        if getattr(config, name):
            raise ConfigError(f"{name} names a topic of a bag, but {path} is none")
    if path.is_dir():
        return open_folder(path, config)
    check_file(path, SourceError, LARGEST_VIDEO_BYTES)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(path, config)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return open_photo(path, config)
    raise SourceError(_unknown_file(path))


def is_bag(path: Path) -> bool:
    """Whether a path is a ROS 2 bag: a folder with metadata.yaml or storage files, or one such file."""
    if path.is_dir():
        return (path / BAG_METADATA).is_file() or any(map(bag_stem, path.iterdir()))
    return bool(bag_stem(path))


def _open_bag(path: Path, config: SourceConfig) -> FrameSource:
    try:
        from visloc_ros.sources.bag import BagSource
    except ModuleNotFoundError as error:
        raise SetupError(f"reading bags needs the Python package rosbags ({error}): pip install rosbags") from error
    return BagSource(path, config)


def _unknown_file(path: Path) -> str:
    if path.suffix == ".bag":
        return f"{path} is a ROS 1 bag: convert it with 'rosbags-convert --src {path.name} --dst {path.stem}'"
    if bag_stem(path.with_suffix("")):
        return f"{path} is a packed bag: unpack it first; only those packed by zstd are read as they are"
    if holds_video(path):
        return f"{path} is video of a kind that is not read: convert it, as by 'ffmpeg -i {path.name} new.mp4'"
    known = ", ".join((*VIDEO_SUFFIXES, *BAG_SUFFIXES))
    return f"{path} is no video, image folder or bag: '{path.suffix}' is none of {known}"

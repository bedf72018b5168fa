"""Options of ``visloc build-map`` that tell scale and up: which source they go to, and what beats what."""

import numpy as np
import pytest

from visloc_ros.apps.command_build_map import GravityChoice, Scale, open_all, override_frame
from visloc_ros.core.config import list_options
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.simulation import SimulationConfig
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag_writer import BagWriter, encode_frames
from visloc_ros.sources.measurements import measurements_of

WITH_TOPICS = SourceConfig(odometry_topic="/odom")


@pytest.fixture
def frames():
    camera = SimulationConfig(width=64, height=48).make_camera()
    return [Frame(stamp_ns, np.full((48, 64, 3), 100, np.uint8), camera) for stamp_ns in (1, 2)]


@pytest.fixture
def bag(frames, tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_odometry("/odom", 1, "odom", "base_link", SE3.identity())
        for frame in encode_frames(frames):
            writer.write_camera_info("/camera/camera_info", frame.stamp_ns, "camera", frame.camera)
            writer.write_compressed_image("/camera/image/compressed", frame.stamp_ns, "camera", frame.data)
    return tmp_path / "bag"


@pytest.fixture
def folder(frames, tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    for frame in encode_frames(frames):
        (path / f"{frame.stamp_ns}.jpg").write_bytes(frame.data)
    return path


def test_topics_are_those_of_the_bags_among_the_sources(bag, folder):
    sources = open_all([folder, bag], SourceConfig(), WITH_TOPICS)
    assert [measurements_of(source).odometry is not None for source in sources] == [False, True]


def test_topics_without_any_bag_are_refused(folder):
    with pytest.raises(ConfigError, match="odometry_topic"):
        open_all([folder, folder], SourceConfig(), WITH_TOPICS)


def test_the_command_line_beats_the_file_and_leaves_the_rest():
    of_file = FrameConfig(scale="distance", scale_distance=2.0, gravity="none", gps_sigma=0.5)
    assert override_frame(of_file, Scale.auto, 0.0, GravityChoice.auto) == of_file
    changed = override_frame(of_file, Scale.none, 3.0, GravityChoice.imu)
    assert (changed.scale, changed.scale_distance, changed.gravity) == ("none", 3.0, "imu")
    assert changed.gps_sigma == 0.5


@pytest.mark.parametrize(("option", "enum"), [("scale", Scale), ("gravity", GravityChoice)])
def test_the_command_line_offers_what_the_file_does(option, enum):
    (choices,) = (info.choices for info in list_options(FrameConfig) if info.name == option)
    assert {choice.value for choice in enum} == set(choices)

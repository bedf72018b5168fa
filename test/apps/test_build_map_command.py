"""What ``visloc build-map`` makes of its arguments: sources, reference poses, a map to add to, scale and up."""

from types import SimpleNamespace

import numpy as np
import pytest
from visloc_command import visloc

from visloc_ros import mapping
from visloc_ros.apps import command_build_map
from visloc_ros.apps.command_build_map import GravityChoice, Scale, open_all, override_frame
from visloc_ros.core.config import list_options
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import write_tum
from visloc_ros.core.types import Frame
from visloc_ros.mapping import large_maps
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.simulation import SimulationConfig
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag_writer import BagWriter, encode_frames
from visloc_ros.sources.measurements import measurements_of
from visloc_ros.sources.ros_images import encode_jpeg

WITH_TOPICS = SourceConfig(odometry_topic="/odom")


@pytest.fixture
def recordings(tmp_path):
    """Two folders of one grey image each, and a file of poses."""
    for name in ("hall", "stairs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(encode_jpeg(np.full((48, 64), 128, np.uint8)))
    write_tum(tmp_path / "poses.tum", [0, 1], [SE3.identity(), SE3.identity()])
    return tmp_path


@pytest.fixture
def calls(monkeypatch):
    """Calls of the functions that do the work, which is not done."""
    made = []

    def note(name):
        def call(*arguments, **options):
            made.append(SimpleNamespace(function=name, arguments=arguments, **options))
            return "done"

        return call

    for name in ("build_map", "extend_map"):
        monkeypatch.setattr(mapping, name, note(name))
    monkeypatch.setattr(command_build_map, "find_large_map_build", lambda: note("large_map"))
    return made


def run(*arguments):
    """Run the command; an error that it told the user is raised here."""
    result = visloc("build-map", *arguments)
    if result.exception is not None:
        raise result.exception


def test_several_sources_become_one_map(recordings, calls):
    poses = recordings / "poses.tum"
    run(recordings / "hall", recordings / "stairs", "-o", "map", "--reference-poses", poses)
    (call,) = calls
    assert call.function == "build_map"
    assert [source.name for source in call.arguments[0]] == ["hall", "stairs"]
    assert len(call.reference_poses) == 2


def test_every_source_has_its_own_reference_poses_or_none(recordings, calls):
    poses = ("--reference-poses", recordings / "poses.tum", "--reference-poses", "none")
    run(recordings / "hall", recordings / "stairs", "-o", "map", *poses)
    known, unknown = calls[0].reference_poses
    assert (len(known), unknown) == (2, None)


def test_an_engine_builds_in_parts(recordings, calls):
    poses = ("--reference-poses", recordings / "poses.tum", "--reference-poses", "none")
    run(recordings / "hall", recordings / "stairs", "-o", "map", "--engine", "serial", *poses)
    (call,) = calls
    assert (call.function, call.work, type(call.engine).__name__) == ("large_map", "map_work", "SerialEngine")
    first, second = call.arguments[0]
    assert (first.path.name, first.reference_poses, second.reference_poses) == ("hall", poses[1], None)
    run(recordings / "hall", "-o", "map", "--engine", "processes", "--workers", "1", "--work", "parts")
    assert (calls[1].work, type(calls[1].engine).__name__) == ("parts", "ProcessEngine")


def test_a_build_in_parts_needs_a_plugin(recordings, monkeypatch):
    monkeypatch.setattr(large_maps, "installed_plugins", lambda _: {})
    with pytest.raises(ConfigError, match=r"docs/plugins\.md.*leave out --engine"):
        run(recordings / "hall", "-o", "map", "--engine", "serial")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--work", "parts"), "give --engine"),
        (("--engine", "grid"), "there is no engine 'grid'"),
        (("--engine", "serial", "--add-to", "old"), "leave out --engine"),
        (("--engine", "serial", "--address", "auto"), "leave it out"),
    ],
)
def test_options_of_a_build_in_parts_that_contradict_each_other_are_refused(recordings, calls, options, words):
    with pytest.raises(ConfigError, match=words):
        run(recordings / "hall", "-o", "map", *options)
    assert calls == []


def test_images_are_added_with_the_options_of_the_map(recordings, calls):
    run(recordings / "hall", "--add-to", "old", "-o", "old", "--overwrite")
    (call,) = calls
    assert (call.function, call.overwrite) == ("extend_map", True)
    path, sources, output, options = call.arguments
    assert (str(path), [source.name for source in sources], str(output), options) == ("old", ["hall"], "old", None)


def test_a_map_that_is_not_there_cannot_be_added_to(recordings):
    with pytest.raises(MapError, match="there is no map at"):
        run(recordings / "hall", "--add-to", recordings / "old", "-o", recordings / "new")
    assert not (recordings / "new").exists()


@pytest.mark.parametrize("option", [("--gravity", "camera"), ("--scale-distance", 2.0), ("--reference-poses", "poses")])
def test_a_map_that_is_added_to_keeps_its_frame(recordings, calls, option):
    name, value = option
    value = recordings / "poses.tum" if value == "poses" else value
    with pytest.raises(ConfigError, match="keeps its poses, scale and axes"):
        run(recordings / "hall", "--add-to", "old", "-o", "new", name, value)
    assert calls == []


def test_reference_poses_for_some_of_the_sources_are_refused(recordings):
    poses = ("--reference-poses", recordings / "poses.tum", "--reference-poses", "none")
    sources = [recordings / "hall", recordings / "stairs", recordings / "hall"]
    with pytest.raises(ConfigError, match="2 files of reference poses for 3 sources"):
        run(*sources, "-o", recordings / "new", *poses)
    assert not (recordings / "new").exists()


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

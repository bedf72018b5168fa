"""What ``visloc build-map`` makes of its arguments: several sources, their reference poses, a map to add to."""

from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from visloc_ros import mapping
from visloc_ros.apps.cli import app
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import write_tum
from visloc_ros.sources.ros_images import encode_jpeg


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
    """Calls of the two functions that do the work, which is not done."""
    made = []

    def note(name):
        def call(*arguments, **options):
            made.append(SimpleNamespace(function=name, arguments=arguments, **options))
            return "done"

        return call

    for name in ("build_map", "extend_map"):
        monkeypatch.setattr(mapping, name, note(name))
    return made


def run(*arguments):
    """Run the command; an error that it told the user is raised here."""
    result = CliRunner().invoke(app, ["build-map", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


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

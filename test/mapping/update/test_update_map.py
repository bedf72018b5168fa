"""A map that follows its room: what it learns, what it refuses, and that nothing is lost."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest

from testing.look_alike import make_look_alike
from testing.redecorated import refurnish
from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.map_versions import list_versions, roll_back
from visloc_ros.mapping.update.report import UpdateRefusedError
from visloc_ros.mapping.update.teaching import agree
from visloc_ros.mapping.update.updater import update_map
from visloc_ros.mapping.update.use import same_points
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.living_room import make_living_room

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"
CONTENT = "ab" * 32
CAMERA = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=2.0, duration_s=4.0, samples=1, light="day")


class Recording:
    """Rendered frames, kept so that they are rendered once; ``focal_error`` scales the focal length that is stated."""

    def __init__(self, room, focal_error=0.0):
        simulation = simulate(CAMERA, "localize", room)
        self.name, self.calibrated = "monday", True
        camera = pycolmap.Camera(simulation.camera.todict())
        params = np.array(camera.params)
        params[:2] *= 1.0 + focal_error
        camera.params = params
        self._frames = [replace(frame, camera=camera) for frame in simulation]
        self.begin = lambda: iter(self._frames)

    def __len__(self):
        return len(self._frames)

    def __iter__(self):
        return self.begin()


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def room_map(tmp_path_factory):
    """The map of the simulated room, unpacked, and prepared for another search."""
    target = tmp_path_factory.mktemp("update") / "room"
    with unpacked(DEMO_MAP) as folder:
        copytree(folder, target)
    add_prepared(
        target, "another", read_manifest(target), lambda folder: {"bytes": (folder / "part").write_bytes(b"abc")}
    )
    return target


@pytest.fixture(scope="session")
def walk():
    """A walk through the room in which three of ten things are others."""
    return Recording(refurnish(make_living_room(0), 0.3, seed=9))


@pytest.fixture(scope="session")
def updated(room_map, walk, tmp_path_factory):
    """The map after that walk, and the report."""
    path = tmp_path_factory.mktemp("updated") / "room"
    copytree(room_map, path)
    return path, update_map(path, walk, content=CONTENT)


class TestUpdate:
    def test_what_it_shows_is_counted_and_added(self, updated, room_map):
        path, report = updated
        new, old = open_map(path), open_map(room_map)
        assert report.taught >= 5
        assert report.new_images >= 1
        assert report.new_points >= 20
        assert len(new.images) == len(old.images) + report.new_images - report.replaced_images
        assert new.manifest.version == report.version == 2
        assert [one["name"] for one in new.manifest.sessions] == ["monday"]

    def test_what_stays_does_not_move(self, updated, room_map):
        path, report = updated
        new, old = open_map(path), open_map(room_map)
        rows = same_points(new.points, old.points)
        assert (rows >= 0).sum() == report.stable_points
        poses = {image.name: image.map_from_camera for image in old.images}
        kept = [image for image in new.images if image.name in poses]
        assert len(kept) == len(old.images) - report.gone_images - report.replaced_images
        assert all(np.allclose(image.map_from_camera.matrix, poses[image.name].matrix, atol=1e-12) for image in kept)
        assert report.gone_points == 0  # one session does not suffice

    def test_new_images_are_where_the_camera_was(self, updated, room_map):
        truth = simulate(CAMERA, "localize", make_living_room(0)).ground_truth
        known = {image.name for image in open_map(room_map).images}
        for image in open_map(updated[0]).images:
            if image.name not in known:
                true = truth.nearest(int(image.name.partition(".")[0]), 1)
                assert np.linalg.norm(image.map_from_camera.translation - true.translation) < 0.03

    def test_the_card_shows_the_change(self, updated):
        card = (updated[0] / "map.html").read_text(encoding="utf-8")
        assert "What the last update changed" in card
        assert str(updated[1].new_points) in card

    def test_what_was_prepared_of_the_map_before_is_not_searched(self, updated):
        path, report = updated
        assert report.stale == ("another",)
        assert "needs 'visloc prepare MAP --for another' again" in str(report)
        assert not open_map(path).prepared
        assert not (path / "another").exists()

    def test_the_version_before_comes_back_to_the_byte(self, updated, room_map, tmp_path):
        path = tmp_path / "room"
        copytree(updated[0], path)
        assert [one.number for one in list_versions(path)] == [1, 2]
        roll_back(path)
        found = {name: data for name, data in contents(path).items() if name.parts[0] != "versions"}
        assert found == {name: data for name, data in contents(room_map).items() if name.name != "paging.h5"}


class TestSize:
    def test_an_update_keeps_what_a_map_was_extended_to(self, room_map, walk, tmp_path):
        """It was built of 11 images, updated, and extended to 30 by a program that noted only the first of these."""
        path = Path(copytree(room_map, tmp_path / "room"))
        manifest = replace(read_manifest(path), sessions=[{"name": "sunday", "built_images": 11}])
        values = asdict(manifest)
        del values["built_images"]
        (path / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
        before = open_map(path)
        report = update_map(path, walk)
        assert report.map_images >= len(before.images)
        assert report.stable_points > 0.95 * len(before.points)
        assert read_manifest(path).built_images == len(before.images)


class TestNeighbours:
    def test_an_image_that_shows_none_of_the_points_confirms_nothing(self):
        none = SimpleNamespace(shown_keypoints=np.empty(0, np.int64), shown_points=np.empty((0, 3)))
        image = SimpleNamespace(observation=none, query=SimpleNamespace(features=None))
        assert agree(image, image, 4.0) is False


class TestRefusal:
    def test_one_recording_teaches_a_map_once_until_that_is_rolled_back(self, updated, walk, room_map, tmp_path):
        path = Path(copytree(updated[0], tmp_path / "room"))
        before = contents(path)
        with pytest.raises(UpdateRefusedError, match=r"'monday' has taught .* already"):
            update_map(path, walk, content=CONTENT)
        assert contents(path) == before
        assert read_manifest(path).sessions[-1]["recording"] == CONTENT
        assert not read_manifest(room_map).sessions

    def test_a_mirrored_room_with_the_same_pictures_teaches_nothing(self, room_map):
        before = contents(room_map)
        with pytest.raises(UpdateRefusedError, match="of its 8 images are located surely"):
            update_map(room_map, Recording(make_look_alike(make_living_room(0), 5)))
        assert contents(room_map) == before

    def test_a_map_that_changes_meanwhile_keeps_that_change(self, room_map, tmp_path):
        path = Path(copytree(room_map, tmp_path / "room"))
        recording = Recording(make_living_room(0))
        frames = list(recording)

        def change_the_map():
            text = (path / "manifest.json").read_text(encoding="utf-8")
            (path / "manifest.json").write_text(text.replace('"name": "', '"name": "other_', 1), encoding="utf-8")
            return iter(frames)

        recording.begin = change_the_map
        with pytest.raises(MapError, match="is another map now than when its change began"):
            update_map(path, recording)
        assert read_manifest(path).name.startswith("other_")
        assert read_manifest(path).version == 1

    def test_a_wrong_calibration_teaches_nothing(self, room_map):
        before = contents(room_map)
        with pytest.raises(UpdateRefusedError):
            update_map(room_map, Recording(make_living_room(0), focal_error=0.1))
        assert contents(room_map) == before

"""Images added to a real map: they come where they were, the map stays what it was, and nothing is lost on failure."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from kitchen_map import CONFIG, NUM_IMAGES, Recorder, contents

from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.manifest import write_manifest
from visloc_ros.core.map import NO_POINT, open_map, pack_map
from visloc_ros.core.map_versions import roll_back
from visloc_ros.mapping import MappingConfig, extend_map
from visloc_ros.mapping.update.use import MapUse, UseCounts, read_use, same_points, write_use
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.ros_images import encode_jpeg

NUM_NEW = 3
QUICK = MappingConfig.from_mapping({**CONFIG.to_mapping(), "matcher": {"name": "nearest"}})


@pytest.fixture(scope="session")
def later(shared_data):
    """Three images of the kitchen, taken a little later."""
    first = 10 * NUM_IMAGES + 5
    selected = SourceConfig(first=first, every=10, last=first + 10 * (NUM_NEW - 1))
    return open_source(shared_data / "7scenes_redkitchen", selected)


@pytest.fixture(scope="session")
def flight(shared_data):
    """Two images of a machine hall."""
    return open_source(shared_data / "euroc_mh05", SourceConfig(every=10, last=19))


@pytest.fixture(scope="session")
def extended(known, later, tmp_path_factory):
    """The larger map, made of the packed one, its summary, and the progress that was reported."""
    folder = tmp_path_factory.mktemp("extended")
    archive = pack_map(known[0], folder / "reference.tar.gz")
    recorder = Recorder()
    summary = extend_map(archive, later, folder / "larger", progress=recorder)
    return folder / "larger", summary, recorder


class TestLargerMap:
    def test_new_images_come_where_they_were(self, later, extended):
        images = {image.name: image for image in open_map(extended[0]).images}
        for frame in later:
            true = later.ground_truth.interpolate(frame.stamp_ns)
            found = images[frame.name].map_from_camera
            # The truth is good to 2-3 cm, and the map's reference poses are of that truth.
            assert np.linalg.norm(found.translation - true.translation) < 0.08
            assert rotation_angle_deg(found.rotation, true.rotation) < 4.0
            assert (images[frame.name].point_rows != NO_POINT).sum() > 100

    def test_what_was_there_does_not_move(self, known, extended):
        old, new = open_map(known[0]), open_map(extended[0])
        images = {image.name: image for image in new.images}
        assert len(new.images) == len(old.images) + NUM_NEW
        for image in old.images:
            assert images[image.name].map_from_camera.is_close(image.map_from_camera, 1e-9, 1e-6)
            assert list(images[image.name].camera.params) == list(image.camera.params)
        kept = {tuple(point) for point in new.points}
        assert np.mean([tuple(point) in kept for point in old.points]) > 0.95

    def test_the_manifest_names_both(self, known, extended):
        old, new = open_map(known[0]).manifest, open_map(extended[0]).manifest
        assert new.name == "larger"
        assert new.created_from == f"{old.created_from}, {old.created_from}-2"
        assert (new.metric, new.scale_source, new.gravity_aligned) == (True, "reference poses", False)
        assert (new.models, new.config) == (old.models, old.config)
        assert new.counts["images"] == NUM_IMAGES + NUM_NEW

    def test_the_summary_counts_by_source(self, extended):
        summary = extended[1]
        counts = [(count.source, count.selected, count.registered) for count in summary.by_source]
        assert counts == [("kitchen", NUM_IMAGES, NUM_IMAGES), ("7scenes_redkitchen-2", NUM_NEW, NUM_NEW)]
        assert summary.left_out == ()
        assert f"'7scenes_redkitchen-2': {NUM_NEW} of {NUM_NEW} images" in str(summary)

    def test_thumbnails_and_card_are_of_all_images(self, extended):
        assert len(list((extended[0] / "thumbnails").glob("*.jpg"))) == NUM_IMAGES + NUM_NEW
        page = (extended[0] / "map.html").read_text()
        assert all(image.name in page for image in open_map(extended[0]).images)

    def test_progress_is_reported_by_stage(self, extended):
        recorder = extended[2]
        assert [name for name, _ in recorder.stages] == ["select", "extract", "match", "register"]
        assert recorder.steps["register"] == NUM_NEW


class TestNothingIsLost:
    def test_images_of_another_place_are_refused_in_words(self, known, flight, tmp_path):
        before = contents(known[0])
        with pytest.raises(MapError, match="none of the 2 images found a place in the map 'kitchen'"):
            extend_map(known[0], flight, tmp_path / "new", QUICK)
        assert list(tmp_path.iterdir()) == []
        assert contents(known[0]) == before

    def test_images_that_show_nothing_are_refused(self, known, tmp_path):
        (tmp_path / "dark").mkdir()
        (tmp_path / "dark" / "0.jpg").write_bytes(encode_jpeg(np.zeros((240, 320), np.uint8)))
        with pytest.raises(MapError, match="enough texture"):
            extend_map(known[0], open_source(tmp_path / "dark"), tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_a_map_is_replaced_in_place_once_the_larger_one_is_whole(self, known, later, flight, tmp_path):
        path = shutil.copytree(known[0], tmp_path / "map")
        with pytest.raises(KeyboardInterrupt):
            extend_map(path, later, path, QUICK, overwrite=True, progress=Recorder("select", KeyboardInterrupt()))
        assert sorted(contents(path).values()) == sorted(contents(known[0]).values())
        summary = extend_map(path, [later, flight], path, QUICK, overwrite=True)
        assert len(open_map(path).images) == NUM_IMAGES + NUM_NEW
        assert [count.registered for count in summary.by_source] == [NUM_IMAGES, NUM_NEW, 0]
        assert summary.left_out == tuple(frame.name for frame in flight)
        assert any("no image of 'euroc_mh05'" in line for line in summary.advice)
        assert list(tmp_path.iterdir()) == [path]

    def test_versions_sessions_and_counts_of_use_stay_in_place(self, known, later, tmp_path):
        path = shutil.copytree(known[0], tmp_path / "map")
        old, session = open_map(path), {"name": "monday", "date": "2026-11-02"}
        seen = UseCounts(np.arange(len(old.points), dtype=float), np.ones(len(old.points)))
        use = MapUse(seen, UseCounts.none(NUM_IMAGES), np.zeros(NUM_IMAGES, np.int32))
        write_manifest(path, write_use(path, use, replace(old.manifest, sessions=[session])))
        before = contents(path)
        extend_map(path, later, path, QUICK, overwrite=True)
        new = open_map(path)
        rows = same_points(new.points, old.points)
        kept = read_use(path, len(new.points), len(new.images)).points
        assert (rows >= 0).sum() > 0.9 * len(old.points)
        assert kept.seen.tolist() == np.where(rows >= 0, rows, 0).tolist()
        assert list(new.manifest.sessions) == [session]
        assert [(step["version"], step["change"]) for step in new.manifest.history] == [(1, "extend")]
        assert (new.manifest.version, new.manifest.built_images) == (2, NUM_IMAGES + NUM_NEW)
        assert new.manifest.frame == old.manifest.frame
        assert roll_back(path).version == 1
        shutil.rmtree(path / "versions")
        assert contents(path) == before

    def test_a_taken_place_is_refused_before_any_work(self, known, later):
        recorder = Recorder()
        with pytest.raises(OutputError, match="--overwrite"):
            extend_map(known[0], later, known[0], progress=recorder)
        assert not recorder.stages

    def test_another_extractor_is_refused_before_any_work(self, known, later, tmp_path):
        config = MappingConfig.from_mapping({**CONFIG.to_mapping(), "features": {"name": "sift"}})
        recorder = Recorder()
        with pytest.raises(ConfigError, match=r"made with 'aliked-n16'.*described by 'sift'"):
            extend_map(known[0], later, tmp_path / "new", config, progress=recorder)
        assert not recorder.stages

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"name": "hloc:absent"}, "not all of which are at hand"),
            ({"sha256": "0" * 64}, "other weights of 'aliked-n16'"),
        ],
    )
    def test_an_extractor_that_is_not_at_hand_is_refused(self, known, later, tmp_path, change, words):
        path = shutil.copytree(known[0], tmp_path / "map")
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["models"]["extractor"] |= change
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(MapError, match=words):
            extend_map(path, later, tmp_path / "new")
        assert list(tmp_path.iterdir()) == [path]

    def test_a_broken_map_is_refused(self, known, later, tmp_path):
        path = shutil.copytree(known[0], tmp_path / "map")
        (path / "features.h5").write_bytes(b"")
        with pytest.raises(MapError, match=r"features\.h5"):
            extend_map(path, later, tmp_path / "new")
        with pytest.raises(MapError, match="there is no map"):
            extend_map(tmp_path / "absent", later, tmp_path / "new")


class TestMapsOfStockHloc:
    def folder(self, known, tmp_path, features_name):
        """The map's COLMAP model and features, as hloc's pipelines would have left them."""
        path = tmp_path / "outputs"
        shutil.copytree(known[0] / "sfm", path / "sfm")
        shutil.copy(known[0] / "features.h5", path / features_name)
        return path

    def test_they_grow_where_their_extractor_is_at_hand(self, known, later, tmp_path):
        path = self.folder(known, tmp_path, "feats-aliked-n16.h5")
        extend_map(path, later, tmp_path / "larger", QUICK)
        old, new = open_map(path), open_map(tmp_path / "larger")
        assert len(new.images) == NUM_IMAGES + NUM_NEW
        assert new.manifest.created_from == "hloc, 7scenes_redkitchen"
        assert set(new.manifest.models) == {"extractor", "matcher", "global"}
        assert new.global_descriptors.shape == (NUM_IMAGES + NUM_NEW, new.vlad_centroids.size)
        poses = {image.name: image.map_from_camera for image in new.images}
        assert all(poses[image.name].is_close(image.map_from_camera, 1e-9, 1e-6) for image in old.images)

    def test_they_are_refused_where_it_is_not(self, known, later, tmp_path):
        path = self.folder(known, tmp_path, "feats-r2d2-n5000-r1024.h5")
        with pytest.raises(MapError, match=r"'hloc:r2d2'.* at hand"):
            extend_map(path, later, tmp_path / "larger")
        assert not (tmp_path / "larger").exists()

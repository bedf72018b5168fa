"""Maps built from real images: true to their reference poses, and never half-written."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from kitchen_map import CONFIG, NUM_IMAGES, Recorder, contents

from visloc_ros.core.camera import project
from visloc_ros.core.errors import ConfigError, MapError, ModelError, OutputError
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix, umeyama
from visloc_ros.core.map import NO_POINT, open_map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.features import FeatureConfig, GlobalConfig, MatcherConfig
from visloc_ros.localization.map_uncertainty import measure_map_uncertainty
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_ros.mapping import build_map
from visloc_ros.mapping.map_sources import pose_at


@pytest.fixture(scope="session")
def unposed(longer, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "kitchen"
    return path, build_map(longer, path, CONFIG)


class TestKnownPoses:
    def test_the_poses_are_the_reference_s(self, kitchen, known):
        opened = open_map(known[0])
        assert len(opened.images) == NUM_IMAGES
        for image, frame in zip(opened.images, kitchen, strict=True):
            assert image.name == frame.name
            assert image.map_from_camera.is_close(kitchen.ground_truth.interpolate(frame.stamp_ns))

    def test_points_reproject_onto_their_keypoints(self, known):
        opened = open_map(known[0])
        counts = [int((image.point_rows != NO_POINT).sum()) for image in opened.images]
        assert min(counts) > 100  # the last image has neighbours on one side only
        assert min(counts[:-1]) > 250
        for image in opened.images:
            seen = image.point_rows != NO_POINT
            in_camera = image.map_from_camera.inverse @ opened.points[image.point_rows[seen]]
            assert in_camera[:, 2].min() > 0.2
            errors = np.linalg.norm(project(image.camera, in_camera) - image.features.keypoints[seen], axis=1)
            assert np.median(errors) < 2.0

    def test_the_kitchen_has_the_size_of_a_kitchen(self, known):
        opened = open_map(known[0])
        depths = (opened.images[0].map_from_camera.inverse @ opened.points)[:, 2]
        assert 0.8 < np.median(depths) < 4.0

    def test_the_manifest_states_how_the_map_was_made(self, known):
        manifest = open_map(known[0]).manifest
        assert manifest.name == "kitchen"
        assert (manifest.metric, manifest.scale_source) == (True, "reference poses")
        assert (manifest.gravity_aligned, manifest.gravity_source) == (False, "none")
        assert set(manifest.models) == {"extractor", "matcher", "global"}
        assert all(re.fullmatch("[0-9a-f]{64}", model.sha256) for model in manifest.models.values())
        assert manifest.config["pairs"]["window"] == CONFIG.pairs.window

    def test_the_manifest_keeps_what_the_map_is_off_by(self, known):
        map_ = open_map(known[0])
        assert map_.manifest.uncertainty is not None
        stored, measured = asdict(map_.manifest.uncertainty), asdict(measure_map_uncertainty(map_))
        assert stored.pop("own_error") == pytest.approx(measured.pop("own_error"), rel=1e-9)
        for name, value in measured.items():
            assert np.allclose(stored[name], value, rtol=1e-9)
        assert len(stored["adjustment_covariance"]) == 0  # the poses were given

    def test_the_summary_agrees_with_the_map(self, known):
        opened, summary = open_map(known[0]), known[1]
        assert summary.registered_images == summary.selected_images == len(opened.images)
        assert summary.points == len(opened.points)
        assert summary.observations == sum(int((image.point_rows != NO_POINT).sum()) for image in opened.images)
        assert summary.mean_track_length == pytest.approx(summary.observations / summary.points)
        stages = {"select", "extract", "describe", "match", "reconstruct", "sparsify", "save"}
        assert set(summary.seconds) == stages

    def test_an_image_takes_no_more_than_the_target(self, known):
        target_kb = open_map(known[0]).manifest.config["sparsification"]["target_kb"]
        codebook_kb = (known[0] / "vlad.h5").stat().st_size / 1e3  # one for the map, however many images it has
        assert known[1].kilobytes_per_image - codebook_kb / NUM_IMAGES <= target_kb
        assert known[1].kilobytes_per_image <= 100.0
        assert f"{known[1].kilobytes_per_image:.0f} kB an image" in str(known[1])
        assert all((image.point_rows != NO_POINT).all() for image in open_map(known[0]).images)

    def test_progress_is_reported_by_stage(self, known):
        recorder = known[2]
        assert [name for name, _ in recorder.stages] == ["select", "extract", "describe", "match", "reconstruct"]
        assert all(recorder.steps[name] == total for name, total in recorder.stages if name != "reconstruct")

    def test_images_find_themselves_by_their_global_descriptors(self, known):
        descriptors = open_map(known[0]).global_descriptors
        assert np.array_equal((descriptors @ descriptors.T).argmax(axis=1), np.arange(NUM_IMAGES))

    def test_the_card_is_one_file_and_names_every_image(self, known):
        page = (known[0] / "map.html").read_text()
        assert "<h1>kitchen</h1>" in page
        assert all(image.name in page for image in open_map(known[0]).images)
        assert page.count('<path class="camera"') == NUM_IMAGES
        assert page.count('class="taken"') == NUM_IMAGES
        assert re.search(r"can be localized</div><div class=\"value\">[1-9]\d?%", page)
        assert "BSD-3-Clause" in page
        assert not re.findall(r'(?:src|href)="(?!data:)', page)
        assert len(list((known[0] / "thumbnails").glob("*.jpg"))) == NUM_IMAGES


class TestUnknownPoses:
    def test_the_manifest_keeps_what_noise_has_moved(self, unposed):
        uncertainty = open_map(unposed[0]).manifest.uncertainty
        assert np.linalg.eigvalsh(np.array(uncertainty.adjustment_covariance)).min() > 0.0

    def test_most_images_are_registered_where_they_were(self, longer, unposed):
        opened = open_map(unposed[0])
        assert len(opened.images) >= len(longer) - 1
        true = {frame.name: longer.ground_truth.interpolate(frame.stamp_ns) for frame in longer}
        found = np.array([image.map_from_camera.translation for image in opened.images])
        known = np.array([true[image.name].translation for image in opened.images])
        errors = np.linalg.norm(umeyama(known, found) @ found - known, axis=1)
        # The truth is good to 2-3 cm.
        assert np.sqrt(np.mean(errors**2)) < 0.05
        turned = [true[image.name].rotation @ image.map_from_camera.rotation.T for image in opened.images]
        assert max(rotation_angle_deg(turned[0], rotation) for rotation in turned) < 5.0

    def test_it_does_not_claim_to_be_metric(self, unposed):
        manifest = open_map(unposed[0]).manifest
        assert not manifest.metric
        assert any("metres" in line for line in unposed[1].advice)

    def test_it_does_not_claim_to_know_what_is_up_from_a_camera_that_hardly_turns(self, unposed):
        manifest = open_map(unposed[0]).manifest
        assert (manifest.gravity_aligned, manifest.gravity_source) == (False, "none")
        down_axes = np.array([image.map_from_camera.rotation[:, 1] for image in open_map(unposed[0]).images])
        assert down_axes.mean(axis=0)[2] < -0.9


class TestEndingEarly:
    @pytest.mark.parametrize(("stage", "failure"), [("select", KeyboardInterrupt()), ("extract", RuntimeError("stop"))])
    def test_nothing_is_left_behind(self, kitchen, tmp_path, stage, failure):
        with pytest.raises(type(failure)):
            build_map(kitchen, tmp_path / "new", CONFIG, progress=Recorder(stage, failure))
        assert not list(tmp_path.iterdir())

    def test_an_old_map_is_untouched(self, kitchen, known):
        before = contents(known[0])
        stop = Recorder("extract", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            build_map(kitchen, known[0], CONFIG, overwrite=True, progress=stop)
        assert contents(known[0]) == before
        assert list(known[0].parent.iterdir()) == [known[0]]

    def test_a_taken_place_is_refused_before_any_work(self, kitchen, known):
        recorder = Recorder()
        with pytest.raises(OutputError, match="--overwrite"):
            build_map(kitchen, known[0], CONFIG, progress=recorder)
        assert not recorder.stages

    def test_contradicting_options_are_refused_before_any_work(self, kitchen, tmp_path):
        config = replace(CONFIG, frame=replace(CONFIG.frame, scale_distance=1.0))
        with pytest.raises(ConfigError, match="scale"):
            build_map(kitchen, tmp_path / "new", config, reference_poses=kitchen.ground_truth)

    def test_reference_poses_of_another_time_are_refused(self, kitchen, tmp_path):
        later = Trajectory(kitchen.ground_truth.stamps_ns + 10**12, kitchen.ground_truth.poses)
        with pytest.raises(MapError, match="too few"):
            build_map(kitchen, tmp_path / "new", CONFIG, reference_poses=later)
        assert not list(tmp_path.iterdir())


class TestUnusableFrames:
    def test_images_that_show_nothing_are_left_out(self, kitchen, tmp_path):
        with pytest.raises(MapError, match="1 usable frames"):
            build_map(OneImageAmongBlackOnes(kitchen), tmp_path / "new", CONFIG)


class OneImageAmongBlackOnes:
    """A source whose camera is covered most of the time."""

    name, calibrated, skipped, ground_truth = "covered", True, 0, None

    def __init__(self, source):
        self.camera, self._frames = source.camera, list(source)[:3]

    def __len__(self):
        return len(self._frames)

    def __iter__(self):
        yield self._frames[0]
        yield from (replace(frame, image=np.zeros_like(frame.image)) for frame in self._frames[1:])


class TestReferenceAtStamp:
    TRAJECTORY = Trajectory(
        np.array([0, 1_000_000_000, 4_000_000_000]),
        (
            SE3.identity(),
            SE3(rotation_matrix([0.0, 0.0, 0.4]), np.array([1.0, 0.0, 0.0])),
            SE3(np.eye(3), np.array([2.0, 0.0, 0.0])),
        ),
    )

    def test_it_is_interpolated(self):
        expected = SE3(rotation_matrix([0.0, 0.0, 0.1]), np.array([0.25, 0.0, 0.0]))
        assert pose_at(self.TRAJECTORY, 250_000_000, 1.0).is_close(expected)

    def test_it_is_not_made_up(self):
        assert pose_at(self.TRAJECTORY, 5_000_000_000, 1.0) is None
        assert pose_at(self.TRAJECTORY, 2_000_000_000, 1.0) is None
        assert pose_at(self.TRAJECTORY, 4_000_000_000, 1.0) is not None


# A repository as torch.hub keeps it; its descriptor is the image in 64 patches.
HUBCONF = """
import torch

def get_trained_model():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten())
"""
QUICK = replace(
    CONFIG,
    features=FeatureConfig(name="sift", max_keypoints=400),
    matcher=MatcherConfig(name="nearest", ratio=0.85),
    global_descriptor=GlobalConfig(name="megaloc"),
)


def test_a_map_of_a_network_finds_its_images(kitchen, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "gmberton_MegaLoc_main"
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(HUBCONF)
    build_map(kitchen, tmp_path / "map", QUICK, reference_poses=kitchen.ground_truth)
    opened = open_map(tmp_path / "map")
    assert {role: model.name for role, model in opened.manifest.models.items()} == {
        "extractor": "sift",
        "matcher": "nearest",
        "global": "megaloc",
    }
    assert (tmp_path / "map" / "global-feats-megaloc.h5").exists()
    assert not (tmp_path / "map" / "vlad.h5").exists()
    describer, vectors = global_index(opened)
    frames = {frame.name: frame for frame in kitchen}
    for row, image in enumerate(opened.images):
        similarity = vectors @ describer.describe(frames[image.name].image, image.features)
        assert similarity.argmax() == row


def test_an_absent_network_is_reported_before_any_work(kitchen, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"'megaloc' needs the torch\.hub repository"):
        build_map(kitchen, tmp_path / "map", QUICK, reference_poses=kitchen.ground_truth)
    assert not (tmp_path / "map").exists()

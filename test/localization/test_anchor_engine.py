"""The whole anchor stage after feature extraction, on exactly known maps."""

import gc
import weakref
from dataclasses import replace
from itertools import chain

import numpy as np
import pycolmap
import pytest
from synthetic_map import DIM, INFO, MATCHER, FakeExtractor, World, is_right, unit

from visloc_ros.core.calibration import CalibrationSource, guess_calibration
from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization import AnchorConfig, AnchorEngine, GuidedConfig, PoseConfig
from visloc_ros.localization.evidence import Evidence
from visloc_ros.localization.view_change import ViewOverlap

STAGES = {"features", "global", "retrieval", "merge", "matching", "correspondences", "pnp", "guided"}
MATCHING_ONLY = GuidedConfig(enabled=False)


def engine_for(world, features, map_=None, **options):
    return AnchorEngine(map_ or world.map, AnchorConfig(**options), FakeExtractor(features), MATCHER)


def test_a_view_of_the_map_gets_its_pose(world, near):
    anchor = engine_for(world, world.view(near)).localize(world.frame())
    assert is_right(anchor, near, 0.02)
    assert rotation_angle_deg(anchor.map_from_camera.rotation, near.rotation) < 0.1
    assert anchor.stamp_ns == 123
    assert anchor.calibration.camera is world.camera
    assert (anchor.calibration.source, anchor.calibration.focal_sigma) == (CalibrationSource.GIVEN, 0.0)
    assert anchor.num_inliers <= anchor.num_matches
    assert anchor.inlier_pixels.shape == (anchor.num_inliers, 2)
    assert anchor.inlier_points.shape == (anchor.num_inliers, 3)
    assert anchor.reprojection_error_px < 2.0
    assert set(anchor.stage_ms) == STAGES
    assert set(anchor.references) <= {image.name for image in world.map.images}


def test_the_answer_says_how_many_parts_of_the_map_were_tried(world, near, monkeypatch):
    engine = engine_for(world, world.view(near))
    assert engine.localize(world.frame()).attempts == 1
    gather = engine._searcher.gather
    monkeypatch.setattr(
        engine._searcher, "gather", lambda query, prior: chain([Evidence(), Evidence()], gather(query, prior))
    )
    assert engine.localize(world.frame()).attempts == 3


def test_several_frames_are_looked_at_in_batches_and_each_is_found(world, near, monkeypatch):
    engine, sizes = engine_for(world, world.view(near)), []
    monkeypatch.setattr(engine.extractor, "batch_size", 2)
    monkeypatch.setattr(
        engine.extractor,
        "extract_many",
        lambda images: sizes.append(len(images)) or [engine.extractor.features] * len(images),
    )
    queries = engine.extract_many([replace(world.frame(), stamp_ns=stamp) for stamp in range(5)])
    assert sizes == [2, 2, 1]
    shares = [query.watch.stage_ms["features"] for query in queries]
    assert shares[0] == shares[1]
    assert shares[2] == shares[3]
    anchors = [engine.solve(query) for query in queries]
    assert [anchor.stamp_ns for anchor in anchors] == list(range(5))
    for anchor in anchors:
        assert np.linalg.norm(anchor.map_from_camera.translation - near.translation) < 0.02
        assert set(anchor.stage_ms) == STAGES
    assert engine.extract_many([]) == []


def test_one_frame_of_another_size_than_its_calibration_refuses_all(world, near):
    small = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50, 50, 32, 24])
    with pytest.raises(CalibrationError):
        engine_for(world, world.view(near)).extract_many([world.frame(), replace(world.frame(), camera=small)])


def test_a_camera_that_is_not_used_any_more_is_forgotten(world, near):
    engine, frame = engine_for(world, world.view(near)), world.frame()
    calibration = guess_calibration(frame.camera.width, frame.camera.height)
    engine.localize(frame.with_calibration(calibration))
    assert engine.best_calibration(calibration) is not None
    known = weakref.ref(calibration)
    del calibration
    gc.collect()
    assert known() is None


def test_half_wrong_matches_do_not_matter(world, near):
    anchor = engine_for(world, world.view(near, outliers=0.5)).localize(world.frame())
    assert is_right(anchor, near, 0.05)


def test_the_error_is_what_the_covariance_says(world, near):
    nees, engine = [], engine_for(world, None, pose=PoseConfig(shared_error=0.0))
    for _ in range(30):
        anchor = engine.localize(world.frame(), features=world.view(near, noise_px=1.0))
        error = near.translation - anchor.map_from_camera.translation
        nees.append(error @ np.linalg.solve(anchor.covariance[:3, :3], error))
    assert 1.5 < np.mean(nees) < 5.0  # three degrees of freedom


def test_matching_stops_when_inliers_suffice(world, near):
    features = world.view(near)
    options = {"guided": MATCHING_ONLY, "stop_spread": 0.01}
    early = engine_for(world, features, stop_inliers=50, **options).localize(world.frame())
    late = engine_for(world, features, stop_inliers=10_000, **options).localize(world.frame())
    assert len(early.references) == 1
    assert len(late.references) == 5


def test_a_prior_chooses_references_that_see_the_same(world, near):
    options = {"top_k_expected": 1, "stop_inliers": 50, "guided": MATCHING_ONLY}
    anchor = engine_for(world, world.view(near), **options).localize(world.frame(), prior=near)
    assert isinstance(anchor, AnchorPose)
    visible = ViewOverlap(world.map).rank(near, world.camera, 1)
    assert anchor.references == (world.map.images[visible[0]].name,)
    assert "global" not in anchor.stage_ms


@pytest.mark.parametrize("away", [[0.0, 0.0, 0.0], [500.0, 0.0, 0.0]], ids=["turned away", "far away"])
def test_a_wrong_prior_does_no_harm(world, near, away):
    wrong = SE3(near.rotation @ rotation_matrix([0.0, np.pi, 0.0]), near.translation + away)
    anchor = engine_for(world, world.view(near)).localize(world.frame(), prior=wrong)
    assert is_right(anchor, near, 0.02)


def test_features_are_extracted_once_a_frame(world, near):
    engine = engine_for(world, world.view(near))
    engine.localize(world.frame(), prior=SE3(near.rotation, near.translation + np.array([500.0, 0.0, 0.0])))
    assert engine.extractor.calls == 1


def test_an_image_without_features_is_rejected(world):
    nothing = LocalFeatures(np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty((0, DIM)), (1024, 768))
    rejection = engine_for(world, nothing).localize(world.frame())
    assert rejection.reason is Reason.FEW_FEATURES
    assert rejection.counts["features"] == 0
    assert set(rejection.stage_ms) == {"features"}


def test_another_place_is_rejected_with_its_counts(world):
    features = World(seed=9).view(World(seed=9).map.images[0].map_from_camera)
    rejection = engine_for(world, features).localize(world.frame())
    assert rejection.reason is Reason.FEW_MATCHES
    assert rejection.counts["references"] == 5
    assert rejection.counts["correspondences"] < 20


def test_matches_without_a_common_pose_are_rejected(world, near):
    rejection = engine_for(world, world.view(near, outliers=1.0)).localize(world.frame())
    assert rejection.reason is Reason.FEW_INLIERS
    assert rejection.counts["correspondences"] > 100


def test_inliers_in_one_spot_are_refused_or_not_by_the_risk_that_is_taken(world, near):
    features = world.view(near)
    from_centre = np.linalg.norm(features.keypoints - features.keypoints.mean(axis=0), axis=1)
    spot = np.argsort(from_centre)[:40]
    few = features.take(spot)
    matched = {"guided": GuidedConfig(enabled=False)}
    accepted = engine_for(world, few, max_risk=1.0, **matched).localize(world.frame())
    rejected = engine_for(world, few, max_risk=1e-6, **matched).localize(world.frame())
    assert isinstance(accepted, AnchorPose)
    assert isinstance(rejected, Rejection)
    assert rejected.counts["probability"] == pytest.approx(accepted.probability)


def test_a_wrong_focal_length_is_named(world, near):
    camera = pycolmap.Camera(model="PINHOLE", width=1024, height=768, params=[1280, 1280, 512, 384])
    wrong = pycolmap.Camera(model="PINHOLE", width=1024, height=768, params=[700, 700, 512, 384])
    features = world.view(near, camera=camera)
    rejection = engine_for(world, features).localize(world.frame(camera=wrong))
    assert rejection.reason is Reason.INTRINSICS_MISMATCH


def test_an_image_of_another_size_than_its_calibration_is_refused(world, near):
    frame = world.frame()
    with pytest.raises(CalibrationError, match="100x50"):
        engine_for(world, world.view(near)).localize(replace(frame, image=np.zeros((50, 100), np.uint8)))


def test_the_same_frame_gives_the_same_answer(world, near):
    engine = engine_for(world, world.view(near, outliers=0.5))
    a, b = engine.localize(world.frame()), engine.localize(world.frame())
    np.testing.assert_array_equal(a.map_from_camera.matrix, b.map_from_camera.matrix)


@pytest.mark.parametrize(
    ("models", "length", "complaint"),
    [
        (
            {"extractor": ModelInfo("disk", "Apache-2.0")},
            DIM,
            "was made with 'disk', but the engine extracts 'synthetic'",
        ),
        ({"extractor": replace(INFO, sha256="a" * 64)}, DIM, "other weights"),
        ({}, DIM, "does not say which extractor"),
        ({"extractor": INFO}, 64, "length"),
    ],
)
def test_a_map_of_other_features_is_refused(world, models, length, complaint):
    other = replace(world.map, manifest=replace(world.map.manifest, models=models))
    extractor = FakeExtractor(None)
    extractor.info, extractor.descriptor_dim = replace(INFO, sha256="b" * 64), length
    with pytest.raises(MapError, match=complaint):
        AnchorEngine(other, AnchorConfig(), extractor, MATCHER)


def test_a_map_with_foreign_global_descriptors_is_indexed_again(world, near):
    """A map made by stock hloc has, say, NetVLAD vectors and no codebook."""
    foreign = replace(
        world.map,
        global_descriptors=unit(np.random.default_rng(0).normal(size=(8, 256))),
        vlad_centroids=np.empty((0, 0), np.float32),
    )
    anchor = engine_for(world, world.view(near), foreign).localize(world.frame())
    assert is_right(anchor, near, 0.02)


def test_global_descriptors_that_do_not_fit_the_codebook_are_refused(world, near):
    broken = replace(world.map, global_descriptors=world.map.global_descriptors[:-1])
    with pytest.raises(MapError, match="do not fit its codebook"):
        engine_for(world, world.view(near), broken)

"""What a thinned-out map keeps: enough for every image, accurate points, spread, and rows that stay aligned."""

import numpy as np
import pytest

from visloc_ros.core.feature_files import write_global_descriptors, write_local_features
from visloc_ros.core.map import LocalFeatures
from visloc_ros.mapping.config import ReconstructionConfig, SparsificationConfig
from visloc_ros.mapping.reconstruction import triangulate_at_known_poses
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.mapping.sparsification import (
    Observations,
    affordable_keypoints,
    choose_observations,
    even_out,
    list_observations,
    sparsify,
)

NUM_PARTS = 16


@pytest.fixture(scope="module")
def full(scene):
    """Every image of the scene sees its 250 points, and 30 keypoints without one."""
    return triangulate_at_known_poses(scene.views, scene.poses, scene.matches(), ReconstructionConfig(threads=1))


@pytest.fixture(scope="module")
def features(scene):
    rng = np.random.default_rng(0)
    return {
        view.name: LocalFeatures(
            view.keypoints,
            rng.random(len(view.keypoints), np.float32),
            rng.normal(size=(len(view.keypoints), 8)).astype(np.float32),
            (640, 480),
        )
        for view in scene.views
    }


def thin_out(full, features, keypoints):
    """Let every image keep so many keypoints, whatever they take on disk."""
    return sparsify(full, features, 64, SparsificationConfig(target_kb=0.1, min_keypoints=keypoints))


class TestMap:
    def test_every_image_keeps_what_it_asked_for(self, full, features):
        sparse, kept = thin_out(full, features, 60)
        assert set(kept) == set(features)
        for image in sparse.images.values():
            assert image.num_points3D == image.num_points2D() == len(kept[image.name])
            assert 60 <= image.num_points3D <= 66

    def test_features_stay_aligned_with_the_model(self, full, features):
        sparse, kept = thin_out(full, features, 60)
        for image in sparse.images.values():
            one, before = kept[image.name], features[image.name]
            assert np.allclose([point.xy for point in image.points2D], one.keypoints, atol=1e-4)
            rows = [int(np.flatnonzero((before.keypoints == keypoint).all(axis=1))[0]) for keypoint in one.keypoints]
            assert np.array_equal(before.descriptors[rows], one.descriptors)
            assert np.array_equal(before.scores[rows], one.scores)

    def test_points_and_poses_stay_where_they_were(self, full, features):
        sparse, _ = thin_out(full, features, 60)
        before = np.array([point.xyz for point in full.points3D.values()])
        for point in sparse.points3D.values():
            assert np.abs(before - point.xyz).sum(axis=1).min() == 0.0
            assert point.track.length() >= 2
            assert 0.0 <= point.error < 0.01
        poses = registered_poses(full)
        assert all(pose.is_close(poses[name]) for name, pose in registered_poses(sparse).items())

    def test_keypoints_without_a_point_go_where_there_is_room_for_all_others(self, full, features):
        sparse, kept = thin_out(full, features, 1000)
        assert sparse.num_points3D() == full.num_points3D()
        assert sparse.compute_num_observations() == full.compute_num_observations()
        assert {len(one) for one in kept.values()} == {250}

    def test_nothing_is_dropped_where_that_is_asked_for(self, full, features):
        sparse, kept = sparsify(full, features, 64, SparsificationConfig(target_kb=0.0))
        assert sparse is full
        assert kept == features

    def test_it_survives_being_written_and_read(self, full, features, tmp_path):
        sparse, _ = thin_out(full, features, 40)
        sparse.write_binary(tmp_path)
        again = type(sparse)(tmp_path)
        assert again.num_points3D() == sparse.num_points3D()
        assert again.compute_num_observations() == sparse.compute_num_observations()

    def test_the_same_map_gives_the_same_choice(self, full, features):
        first, second = thin_out(full, features, 50)[1], thin_out(full, features, 50)[1]
        assert all(np.array_equal(first[name].keypoints, second[name].keypoints) for name in first)


def make_observations(tracks, part_of_point, errors=None):
    """Observations from the images that see each point, and the part of the image that it lies in."""
    images = np.concatenate([np.asarray(track) for track in tracks])
    points = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    parts = images * NUM_PARTS + np.asarray(part_of_point)[points]
    return Observations(
        images, np.arange(len(images)), points, parts, np.ones(len(tracks)) if errors is None else errors
    )


class TestTarget:
    @pytest.mark.parametrize("target_kb", [25.0, 40.0])
    def test_a_written_map_takes_what_was_asked_for(self, full, features, tmp_path, target_kb):
        long = {
            name: LocalFeatures(one.keypoints, one.scores, unit_rows(len(one), 128), one.image_size)
            for name, one in features.items()
        }
        config = SparsificationConfig(target_kb=target_kb, min_keypoints=4)
        sparse, kept = sparsify(full, long, 4096, config)
        sparse.write_binary(tmp_path)
        write_local_features(tmp_path / "features.h5", kept)
        write_global_descriptors(tmp_path / "global.h5", dict.fromkeys(kept, unit_rows(1, 4096)[0]))
        size = sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e3 / len(kept)
        assert size == pytest.approx(target_kb, rel=0.05)

    def test_the_limit_is_as_high_as_the_mean_allows(self):
        counts = np.array([100, 300, 500])
        assert even_out(counts, 300.0) == 500
        assert even_out(counts, 250.0) == 350
        assert even_out(counts, 90.0) == 90
        assert even_out(counts, 0.0) == 0

    def test_longer_descriptors_leave_room_for_fewer_keypoints(self):
        assert affordable_keypoints(256, 8192, 100.0) < 0.65 * affordable_keypoints(128, 8192, 100.0)
        assert affordable_keypoints(128, 8192, 5.0) == 0.0


def unit_rows(count, length):
    rows = np.random.default_rng(count).normal(size=(count, length)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TestChoice:
    def test_accurate_points_go_first(self):
        errors = np.repeat([2.0, 0.5], [20, 10])
        observations = make_observations([(0, 1)] * 30, np.zeros(30, dtype=int), errors)
        kept = choose_observations(observations, 10)
        assert set(observations.points[kept]) == set(range(20, 30))

    def test_a_long_track_is_no_reason_to_keep_an_inaccurate_point(self):
        tracks = [(0, 1, 2, 3)] * 30 + [(0, 1)] * 10 + [(2, 3)] * 10
        observations = make_observations(tracks, np.zeros(50, dtype=int), np.repeat([2.0, 0.5], [30, 20]))
        kept = choose_observations(observations, 10)
        assert set(observations.points[kept]) == set(range(30, 50))

    def test_the_kept_points_are_spread_over_the_image(self):
        crowded = np.concatenate([np.zeros(300, dtype=int), np.repeat(np.arange(1, NUM_PARTS), 4)])
        observations = make_observations([(0, 1)] * len(crowded), crowded)
        kept = choose_observations(observations, 32)
        assert np.all(np.bincount(observations.parts[kept], minlength=2 * NUM_PARTS) == 2)

    def test_an_image_that_sees_little_keeps_all_of_it(self):
        tracks = [(0, 1)] * 100 + [(1, 2)] * 7
        observations = make_observations(tracks, np.arange(107) % NUM_PARTS)
        kept = choose_observations(observations, 20)
        counts = np.bincount(observations.images[kept], minlength=3)
        assert counts[2] == 7
        assert counts.min() == 7
        assert counts.max() <= 27

    def test_every_kept_point_keeps_two_observations(self):
        rng = np.random.default_rng(3)
        tracks = [rng.choice(12, rng.integers(2, 7), replace=False) for _ in range(400)]
        observations = make_observations(tracks, rng.integers(0, NUM_PARTS, 400))
        kept = choose_observations(observations, 25)
        assert len(np.unique(kept)) == len(kept)
        assert np.unique(observations.points[kept], return_counts=True)[1].min() >= 2
        assert np.bincount(observations.images[kept]).min() >= 25

    def test_nothing_is_chosen_from_nothing(self):
        empty = Observations(*(np.empty(0, dtype=np.intp) for _ in range(4)), np.empty(0))
        assert len(choose_observations(empty, 10)) == 0


def test_parts_follow_the_grid_over_each_image(scene, full):
    image_ids = sorted(full.reg_image_ids())
    observations = list_observations(full, image_ids)
    for row, image_id in enumerate(image_ids):
        mine = observations.images == row
        pixels = np.array([full.images[image_id].points2D[k].xy for k in observations.keypoints[mine]])
        inside = np.clip(pixels // [160, 120], 0, 3).astype(int)
        assert np.array_equal(observations.parts[mine] - row * NUM_PARTS, inside[:, 1] * 4 + inside[:, 0])

"""A model that is bent, or hardly held together, is cut where it is, and mapped incrementally where that is better."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.reconstruction import reconstruct_components, triangulate_at_known_poses
from visloc_ros.mapping.rigid_parts import only_images, shape_difference, weigh_pairs
from visloc_ros.mapping.scale import align_to_references
from visloc_ros.mapping.sfm_database import add_views, registered_poses, write_database

CONFIG = ReconstructionConfig(threads=1)
HINGE = 5
EVERY = [(i, j) for i in range(10) for j in range(i + 1, 10)]
WITHIN = [(i, j) for i, j in EVERY if (i < HINGE) == (j < HINGE)]
HALVES = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]


def bend(model, images=HALVES[1], scale=1.4):
    """Scale some images and half of the points about the centre of all; drop the observations that do not fit."""
    about = np.mean([point.xyz for point in model.points3D.values()], axis=0)
    for number in list(model.points3D)[::2]:
        model.points3D[number].xyz = about + scale * (model.points3D[number].xyz - about)
    for image_id in images:
        pose = SE3.from_rigid3d(model.images[image_id].cam_from_world()).inverse
        moved = SE3(pose.rotation, about + scale * (pose.translation - about))
        model.frames[model.images[image_id].frame_id].rig_from_world = moved.inverse.to_rigid3d()
    pycolmap.ObservationManager(model).filter_all_points3D(CONFIG.max_reprojection_error_px, 1.5)
    return model


@pytest.fixture
def evidence(scene, tmp_path):
    """What a model of the scene says of matches that a database holds."""

    def weigh(model, matches):
        blank = pycolmap.Reconstruction()
        (tmp_path / "database.db").unlink(missing_ok=True)
        write_database(tmp_path / "database.db", blank, add_views(blank, scene.views), matches, verified=True)
        return weigh_pairs(model, tmp_path / "database.db", CONFIG.max_reprojection_error_px)

    return weigh


@pytest.fixture(scope="module")
def model(scene):
    return triangulate_at_known_poses(scene.views, scene.poses, scene.matches(), CONFIG)


def sorted_parts(evidence):
    return sorted(map(sorted, evidence.rigid_parts(2)))


def test_an_exact_model_explains_all_matches_and_is_one_part(scene, model, evidence):
    found = evidence(model, scene.matches())
    assert found.explained.sum() == sum(map(len, scene.matches().values()))
    assert found.contradicted.sum() == 0
    assert sorted_parts(found) == [list(range(1, 11))]


def test_wrong_matches_contradict_it_and_do_not_cut_it(scene, model, evidence):
    found = evidence(model, scene.matches(wrong=60))
    assert found.contradicted.sum() > 45 * 30
    assert sorted_parts(found) == [list(range(1, 11))]


def test_a_bent_model_is_cut_at_the_bend(scene, model, evidence):
    assert sorted_parts(evidence(bend(pycolmap.Reconstruction(model)), scene.matches())) == HALVES


@pytest.mark.parametrize(
    ("pairs", "most", "parts"),
    [
        ([(4, 5), (3, 6)], 15, 1),
        ([(4, 5), (3, 6)], 14, 2),  # 28 matches: too few
        ([(4, 5)], 250, 2),  # one pair has no witness
        ([], 0, 2),
    ],
)
def test_groups_need_enough_matches_in_two_pairs(scene, model, evidence, pairs, most, parts):
    matches = {**scene.matches(WITHIN), **{pair: rows[:most] for pair, rows in scene.matches(pairs).items()}}
    assert len(evidence(model, matches).rigid_parts(2)) == parts


def test_one_pair_suffices_where_images_were_registered_by_points_of_others(scene, model, evidence):
    found = evidence(model, scene.matches([*WITHIN, (4, 5)]))
    assert (len(found.rigid_parts(1)), len(found.rigid_parts(2))) == (1, 2)


def test_a_part_keeps_its_images_and_what_they_see(model):
    part = only_images(model, HALVES[1])
    assert sorted(part.reg_image_ids()) == HALVES[1]
    assert {one.image_id for point in part.points3D.values() for one in point.track.elements} == set(HALVES[1])
    assert model.num_reg_images() == 10


def bend_models_of(monkeypatch, mapper):
    original = getattr(pycolmap, mapper)

    def mapping(*args, **kwargs):
        return {number: bend(model) for number, model in original(*args, **kwargs).items()}

    monkeypatch.setattr(pycolmap, mapper, mapping)


@pytest.fixture
def bent_mapper(monkeypatch):
    """A global mapper that bends what it finds."""
    bend_models_of(monkeypatch, "global_mapping")


@pytest.fixture
def bent_incremental_mapper(monkeypatch):
    """An incremental mapper that bends what it finds."""
    bend_models_of(monkeypatch, "incremental_mapping")


def largest_error(scene, model):
    poses = registered_poses(model)
    true = {view.name: pose for view, pose in zip(scene.views, scene.poses, strict=True)}
    true_from_map = align_to_references(poses, true)
    moved = {name: true_from_map.apply_to_pose(pose).translation for name, pose in poses.items()}
    return max(np.linalg.norm(at - true[name].translation) for name, at in moved.items())


@pytest.mark.usefixtures("bent_mapper")
def test_images_of_a_bent_global_model_are_mapped_incrementally(scene):
    (only,) = reconstruct_components(scene.views, scene.matches(), replace(CONFIG, global_from=10))
    assert "hold 5 of 10 images together" in only.remark
    assert "incrementally" in only.remark
    assert only.size[0] == 10
    assert largest_error(scene, only.model) < 0.005


@pytest.mark.usefixtures("bent_mapper")
def test_what_is_mapped_incrementally_must_have_the_shape_of_the_parts(scene, monkeypatch):
    original = pycolmap.incremental_mapping

    def mapping(*args, **kwargs):
        return {number: bend(model, [3, 4, 8, 9]) for number, model in original(*args, **kwargs).items()}

    monkeypatch.setattr(pycolmap, "incremental_mapping", mapping)
    found = reconstruct_components(scene.views, scene.matches(), replace(CONFIG, global_from=10))
    assert [one.size[0] for one in found] == [5, 5]
    assert all(largest_error(scene, one.model) < 0.005 for one in found)


def test_the_difference_in_shape_is_a_share_of_the_spread(model):
    moved, bent = pycolmap.Reconstruction(model), bend(pycolmap.Reconstruction(model))
    moved.transform(pycolmap.Sim3d(2.0, pycolmap.Rotation3d(), [1.0, 2.0, 3.0]))
    assert shape_difference(model, moved) < 1e-9
    assert shape_difference(model, bent) > 0.2
    assert shape_difference(model, only_images(bent, HALVES[1])) < 1e-9
    assert shape_difference(model, only_images(bent, [4, 6, 8])) == 0.0


@pytest.mark.usefixtures("bent_incremental_mapper")
def test_what_is_mapped_incrementally_is_cut_as_well(scene):
    found = reconstruct_components(scene.views, scene.matches(), replace(CONFIG, mapper="incremental"))
    assert [one.size[0] for one in found] == [5, 5]
    assert "in the incremental model, verified matches hold 5 of 10 images together" in found[0].remark
    assert all(largest_error(scene, one.model) < 0.005 for one in found)


@pytest.mark.usefixtures("bent_mapper", "bent_incremental_mapper")
def test_where_both_mappers_bend_their_models_there_are_parts(scene):
    found = reconstruct_components(scene.views, scene.matches(), replace(CONFIG, global_from=10))
    assert [one.size[0] for one in found] == [5, 5]
    assert all(largest_error(scene, one.model) < 0.005 for one in found)


def test_images_hold_together_with_known_ones_which_need_no_matches_of_their_own(scene, model, evidence):
    first, second = HALVES
    bent = bend(pycolmap.Reconstruction(model))
    pairs = [pair for pair in EVERY if not set(pair) <= {0, 1, 2}]  # the ids are one more
    assert evidence(model, scene.matches(pairs)).held_with([1, 2, 3]) == {*first, *second}
    assert evidence(bent, scene.matches(pairs)).held_with([1, 2, 3]) == set(first)


@pytest.mark.usefixtures("bent_mapper")
def test_who_asks_for_the_global_mapper_gets_the_unbent_parts(scene):
    found = reconstruct_components(scene.views, scene.matches(), replace(CONFIG, mapper="global"))
    assert [one.size[0] for one in found] == [5, 5]
    assert "cut" in found[0].remark
    assert all(largest_error(scene, one.model) < 0.005 for one in found)


def test_nothing_is_said_of_a_sound_global_model(scene):
    (only,) = reconstruct_components(scene.views, scene.matches(), replace(CONFIG, mapper="global"))
    assert only.remark == ""

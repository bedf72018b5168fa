"""The search by instances in an exactly known map: right masks, wrong ones, and none."""

from dataclasses import replace

import numpy as np
import pytest
from instance_world import COUNT, GRID, ToldRecogniser, instances_of, recognition_of
from synthetic_map import MATCHER, FakeExtractor, World, is_right, near_image, unit

from visloc_ros.core.camera import project
from visloc_ros.core.map import NO_POINT
from visloc_ros.core.types import AnchorPose, Reason
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_ros.localization.search_hint import PositionHint, SearchHint
from visloc_search.instances.searcher import InstanceSearcher

NEAR = 2  # the map image that queries are near


@pytest.fixture(scope="module")
def world():
    return World(points=900, images=12)


@pytest.fixture(scope="module")
def instances(world):
    return instances_of(world.map)


@pytest.fixture(scope="module")
def near(world):
    return near_image(world, NEAR)


def mask_at(world, instances, pose):
    """The mask of a view, each cell the instance of the points in it that are most."""
    camera = world.camera
    pixels = project(camera, pose.inverse @ world.points)
    seen = np.flatnonzero(((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=1))
    cells = np.floor(pixels[seen] / [camera.width, camera.height] * GRID[::-1]).astype(int)
    votes = np.zeros((COUNT + 1, *GRID), int)
    np.add.at(votes, (instances.point_labels[seen], cells[:, 1], cells[:, 0]), 1)
    return votes.argmax(axis=0).astype(np.uint16)


class Search:
    """An engine that searches a view, and the map images that it matches."""

    def __init__(self, world, instances, view, recognition, config=None):
        config = config or AnchorConfig()
        self.recogniser = ToldRecogniser(recognition)
        searcher = InstanceSearcher(world.map, instances, self.recogniser, global_index(world.map), config, MATCHER)
        self.engine = AnchorEngine(world.map, config, FakeExtractor(view), MATCHER, searcher)
        self.frame = world.frame()

    def answer(self, **known):
        return self.engine.localize(self.frame, **known)


@pytest.fixture
def right(world, instances, near):
    return recognition_of(mask_at(world, instances, near), instances.areas[NEAR])


def test_an_image_is_found_with_few_map_images(world, instances, near, right):
    search = Search(world, instances, world.view(near), right, replace(AnchorConfig(), top_k=2))
    anchor = search.answer()
    assert is_right(anchor, near, 0.02)
    assert len(search.recogniser.images) == 1
    assert set(np.unique(anchor.inlier_landmarks)) <= set(range(1, COUNT + 1))


@pytest.mark.parametrize("kind", ["background", "shuffled", "another place"])
def test_wrong_masks_do_not_hide_an_image(world, instances, near, right, kind):
    rng = np.random.default_rng(0)
    mask = right.mask
    if kind == "background":
        wrong = recognition_of(np.zeros(GRID, np.uint16), instances.areas[NEAR])
    elif kind == "shuffled":
        wrong = recognition_of(rng.permutation(mask.ravel()).reshape(GRID), instances.areas[NEAR])
    else:  # all instances that the image does not show: the first clusters are wrong
        far = int(np.argmin(instances.descriptors @ instances.descriptors[NEAR]))
        wrong = recognition_of(mask_at(world, instances, world.map.images[far].map_from_camera), instances.areas[far])
    found = Search(world, instances, world.view(near), wrong).answer()
    assert is_right(found, near, 0.05)


def test_images_that_are_not_alike_fall_back_to_retrieval(world, instances, near, right):
    nothing_alike = replace(instances, min_similarity=1.0)
    assert is_right(Search(world, nothing_alike, world.view(near), right).answer(), near, 0.05)


def test_an_image_of_another_place_is_refused(world, instances, near, right):
    other = World(seed=7, points=900, images=12)
    answer = Search(world, instances, other.view(near_image(other)), right).answer()
    assert not isinstance(answer, AnchorPose)
    assert answer.reason in (Reason.FEW_MATCHES, Reason.FEW_INLIERS)


def test_a_hint_rules_map_images_out(world, instances, near, right):
    away = SearchHint(PositionHint(near.translation + 500.0, 0.1))
    answer = Search(world, instances, world.view(near), right).answer(hint=away)
    assert not isinstance(answer, AnchorPose)
    here = SearchHint(PositionHint(near.translation, 0.5))
    assert is_right(Search(world, instances, world.view(near), right).answer(hint=here), near, 0.02)


def twice(place, alike):
    """A map with its points and images twice, 60 m apart; a share of the second copy's points looks ``alike``."""
    rng, apart, count = np.random.default_rng(0), np.array([60.0, 0.0, 0.0]), len(place.points)
    copies = []
    for image in place.images:
        others = unit(rng.normal(size=image.features.descriptors.shape))
        is_alike = (image.point_rows % 10 < 10 * alike)[:, None]
        descriptors = np.where(is_alike, image.features.descriptors, others)
        copies.append(
            replace(
                image,
                name=f"copy_{image.name}",
                features=replace(image.features, descriptors=descriptors),
                map_from_camera=replace(image.map_from_camera, translation=image.map_from_camera.translation + apart),
                point_rows=np.where(image.point_rows == NO_POINT, NO_POINT, image.point_rows + count).astype(np.int32),
            )
        )
    return replace(
        place,
        images=(*place.images, *copies),
        points=np.concatenate((place.points, place.points + apart)),
        global_descriptors=np.concatenate((place.global_descriptors, place.global_descriptors)),
    )


def search_twice(world, near, row, alike, min_similarity=-1.0, **known):
    """The answer to a view near an image of the first copy, in which image ``row`` and its main instance are seen."""
    twin = World(points=900, images=12)
    twin.map = twice(world.map, alike)
    instances = replace(instances_of(twin.map, COUNT), min_similarity=min_similarity)
    mask = np.full(GRID, int(instances.areas[row].argmax()), np.uint16)
    config = replace(AnchorConfig(), top_k=1)
    return Search(twin, instances, world.view(near), recognition_of(mask, instances.areas[row]), config).answer(**known)


def test_the_fall_back_to_retrieval_takes_images_that_a_hint_permits(world, near):
    """Images of both copies look the same, so that retrieval alone would take one of the first copy."""
    there = near.translation + np.array([60.0, 0.0, 0.0])
    answer = search_twice(world, near, NEAR, 1.0, min_similarity=1.5, hint=SearchHint(PositionHint(there, 0.5)))
    assert is_right(answer, replace(near, translation=there), 0.05)


def test_a_place_that_looks_the_same_elsewhere_is_ambiguous(world, near):
    """The recogniser knows only the first copy."""
    answer = search_twice(world, near, NEAR, alike=1.0)
    assert not isinstance(answer, AnchorPose)
    assert answer.reason is Reason.AMBIGUOUS_PLACE


def test_instances_of_a_place_that_looks_less_alike_do_not_hide_the_right_one(world, near):
    """The recogniser sees the second copy, where three points of ten look the same."""
    answer = search_twice(world, near, NEAR + len(world.map.images), alike=0.3)
    assert is_right(answer, near, 0.05)

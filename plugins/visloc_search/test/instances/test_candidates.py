"""Which map images are matched: those that show the recognised instances, by likeness, and not too many."""

import numpy as np
import pytest

from visloc_search.instances.candidates import CandidateIndex
from visloc_search.instances.instance_map import InstanceMap
from visloc_search.instances.recognition import Recognition

IMAGES = 100


@pytest.fixture
def instances():
    """Images on a circle: image n shows instance n // 20 + 1 and a little of all others, and looks like its angle."""
    angles = 2 * np.pi * np.arange(IMAGES) / IMAGES
    areas = np.full((IMAGES, 6), 0.005, np.float32)
    areas[np.arange(IMAGES), np.arange(IMAGES) // 20 + 1] = 0.4
    descriptors = np.column_stack((np.cos(angles), np.sin(angles))).astype(np.float32)
    return InstanceMap(np.zeros(0, np.int32), areas, descriptors, -1.0)


def seen(shown, angle):
    """A recognition in which instances cover one cell each, the first most surely."""
    probabilities = np.full((6, 1, len(shown)), 0.01, np.float32)
    probabilities[shown, 0, np.arange(len(shown))] = 0.9 - 0.1 * np.arange(len(shown))
    return Recognition.of(probabilities, np.array([np.cos(angle), np.sin(angle)], np.float32))


EVERYWHERE = np.ones(IMAGES, bool)


def test_clusters_follow_the_instances_and_have_the_most_alike_images(instances):
    angle = 2 * np.pi * 30 / IMAGES
    clusters = list(CandidateIndex(instances, 3).clusters(seen([2, 4], angle), EVERYWHERE))
    assert sorted(clusters[0]) == [29, 30, 31]
    assert clusters[1] == [60, 61, 62]  # of instance 4: the least far
    together = [row for rows in clusters for row in rows]
    assert len(together) == len(set(together)) <= 0.3 * IMAGES


def test_at_most_a_share_of_a_map_and_at_most_forty_images_are_matched(instances):
    query = seen([1, 2, 3, 4, 5], 0.0)
    for most, size in ((30, 10), (30, 3)):
        clusters = list(CandidateIndex(instances, size).clusters(query, EVERYWHERE))
        assert sum(map(len, clusters)) <= most
    small = InstanceMap(instances.point_labels, instances.areas[:4], instances.descriptors[:4], -1.0)
    assert sum(map(len, CandidateIndex(small, 4).clusters(query, EVERYWHERE[:4]))) == 4


def test_images_that_are_not_alike_enough_or_ruled_out_are_left_out(instances):
    near = InstanceMap(instances.point_labels, instances.areas, instances.descriptors, 0.9)
    query = seen([1, 2, 3, 4, 5], 0.0)
    rows = [row for rows in CandidateIndex(near, 40).clusters(query, EVERYWHERE) for row in rows]
    assert rows
    assert (near.descriptors[rows] @ query.descriptor >= 0.9).all()
    allowed = np.zeros(IMAGES, bool)
    allowed[[3, 50]] = True
    rows = [row for rows in CandidateIndex(instances, 5).clusters(query, allowed) for row in rows]
    assert sorted(rows) == [3, 50]


def test_an_image_without_instances_has_no_candidates(instances):
    probabilities = np.zeros((6, 2, 2), np.float32)
    probabilities[0] = 1.0
    nothing = Recognition.of(probabilities, np.array([1.0, 0.0], np.float32))
    assert list(CandidateIndex(instances, 5).clusters(nothing, EVERYWHERE)) == []

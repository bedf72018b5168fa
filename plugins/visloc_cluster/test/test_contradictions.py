"""A map that is torn between images that follow each other is reported; one that lacks a wrong loop is not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from visloc_cluster.mapping.contradictions import find_contradictions, shares_explained
from visloc_cluster.mapping.matching import ViewGraph
from visloc_cluster.mapping.model import Model

IMAGES, POINTS_AN_IMAGE, SEEN_BY, WINDOW = 40, 20, 6, 4


@dataclass
class Frame:
    name: str
    source: str = "walk"


FRAMES = [Frame(f"{row}.jpg") for row in range(IMAGES)]


def model_of(first_images: np.ndarray, lengths: np.ndarray) -> Model:
    """Points, each seen by so many images from its first one on."""
    seen = np.repeat(np.arange(len(lengths)), lengths)
    seen_by = np.concatenate(
        [np.arange(first, first + length) for first, length in zip(first_images, lengths, strict=True)]
    )
    order = np.lexsort((seen, seen_by))
    zeros = np.zeros(len(seen))
    return Model(
        np.arange(IMAGES),
        np.tile([1.0, 0, 0, 0, 0, 0, 0], (IMAGES, 1)),
        np.zeros(IMAGES, np.int64),
        np.zeros((IMAGES, 4)),
        np.zeros((len(lengths), 3)),
        seen_by[order],
        np.arange(len(seen)),
        seen[order],
        np.stack((zeros, zeros), axis=1).astype(np.float32),
    )


@pytest.fixture(scope="module")
def whole() -> Model:
    """Every image begins so many points, which the next images see, too."""
    firsts = np.repeat(np.arange(IMAGES), POINTS_AN_IMAGE)
    return model_of(firsts, np.minimum(SEEN_BY, IMAGES - firsts))


@pytest.fixture(scope="module")
def graph(whole: Model) -> ViewGraph:
    """Each image with the four after it, verified by all points that both see; and a wrong loop."""
    pairs = [(i, j) for i in range(IMAGES) for j in range(i + 1, min(i + WINDOW + 1, IMAGES))]
    sees = [set(whole.seen[whole.seen_by == image].tolist()) for image in range(IMAGES)]
    inliers = [len(sees[i] & sees[j]) for i, j in pairs]
    pairs.append((2, 37))
    inliers.append(40)
    nothing = np.zeros(len(pairs), np.int64)
    return ViewGraph(np.array(pairs), np.array(inliers), nothing, nothing)


def torn_at(whole: Model, rows: Sequence[int]) -> Model:
    """The model with every point that is seen across the places before these images as two points."""
    piece = np.searchsorted(np.array(rows), whole.seen_by, side="right")
    _, seen = np.unique(whole.seen * (len(rows) + 1) + piece, return_inverse=True)
    return replace(whole, seen=seen, points=np.zeros((seen.max() + 1, 3)))


def test_a_wrong_loop_that_is_not_in_the_map_is_no_contradiction(whole: Model, graph: ViewGraph) -> None:
    shares = shares_explained(whole, graph)
    np.testing.assert_array_equal(shares[:-1], 1.0)
    assert shares[-1] == 0.0
    assert find_contradictions(whole, graph, FRAMES, WINDOW) == []


def test_a_map_that_is_torn_between_following_images_is_reported(whole: Model, graph: ViewGraph) -> None:
    [words] = find_contradictions(torn_at(whole, [10, 20]), graph, FRAMES, WINDOW)
    assert "the matches of 20 of 150 pairs" in words
    assert "Do not rely on it" in words


def test_images_that_the_map_lacks_contradict_nothing(whole: Model, graph: ViewGraph) -> None:
    kept = whole.seen_by < 20
    part = replace(
        whole,
        images=whole.images[:20],
        poses=whole.poses[:20],
        seen_by=whole.seen_by[kept],
        keypoints=whole.keypoints[kept],
        seen=whole.seen[kept],
        pixels=whole.pixels[kept],
    )
    assert np.isnan(shares_explained(part, graph)[graph.pairs[:, 1] >= 20]).all()
    assert find_contradictions(part, graph, FRAMES, WINDOW) == []


def test_sources_that_follow_each_other_are_not_images_that_do(whole: Model, graph: ViewGraph) -> None:
    frames = [Frame(frame.name, str(row // 10)) for row, frame in enumerate(FRAMES)]
    assert find_contradictions(torn_at(whole, [10, 20]), graph, frames, WINDOW) == []

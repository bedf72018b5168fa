"""Blocks of an exactly known scene, each in a frame of its own: aligned, averaged, joined, or left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from visloc_cluster.mapping.alignment import Alignment, align
from visloc_cluster.mapping.averaging import join_frames
from visloc_cluster.mapping.division import Registered, colour, divide
from visloc_cluster.mapping.joining import join
from visloc_cluster.mapping.model import Model, pose_values
from visloc_cluster.mapping.partition import Block
from visloc_cluster.mapping.pieces import Piece, all_agreeing, cut, neighbours, taken
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix

FOCAL_PX, TOLERANCE_PX = [500.0], 8.0
FRAMES = (
    Sim3.identity(),
    Sim3(2.5, rotation_matrix([0.3, -0.8, 0.2]), np.array([4.0, -1.0, 2.0])),
    Sim3(0.4, rotation_matrix([-1.3, 0.1, 0.9]), np.array([-3.0, 7.0, 0.5])),
)
ROWS = (range(10), range(6, 16), (*range(12, 20), 0, 1, 2, 3))


@pytest.fixture(scope="module")
def whole() -> Model:
    """Twenty cameras in a ring that look outwards at points on a wall around them."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
    directions = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(20)])
    rotations = [np.column_stack([np.cross([0.0, 0.0, -1.0], d), [0.0, 0.0, -1.0], d]) for d in directions]
    poses = [SE3(rotation, 3.0 * d) for rotation, d in zip(rotations, directions, strict=True)]
    around = rng.uniform(0.0, 2.0 * np.pi, 400)
    points = np.column_stack([9.0 * np.cos(around), 9.0 * np.sin(around), rng.uniform(-2.0, 2.0, 400)])
    difference = np.abs((around[None, :] - angles[:, None] + np.pi) % (2.0 * np.pi) - np.pi)
    seen_by, seen = np.nonzero(difference < 0.5)
    return Model(
        np.arange(20), np.array([pose_values(pose) for pose in poses]), np.zeros(20, int), np.full((20, 4), 500.0),
        points, seen_by, seen, seen, np.zeros((len(seen), 2), np.float32),
    )  # fmt: skip


def block(whole: Model, rows: object, block_from_map: Sim3) -> Model:
    """The images of these rows with the points that they see, in another frame."""
    images = np.sort(np.array([*rows]))  # type: ignore[misc]
    own = np.isin(whole.seen_by, images)
    used, seen = np.unique(whole.seen[own], return_inverse=True)
    part = replace(
        whole,
        images=images,
        poses=whole.poses[images],
        cameras=whole.cameras[images],
        parameters=whole.parameters[images],
        points=whole.points[used],
        seen_by=np.searchsorted(images, whole.seen_by[own]),
        keypoints=whole.keypoints[own],
        seen=seen,
        pixels=whole.pixels[own],
    )
    return part.moved(block_from_map)


@pytest.fixture
def blocks(whole: Model) -> list[Model]:
    return [block(whole, rows, frame) for rows, frame in zip(ROWS, FRAMES, strict=True)]


def edge(first: Model, second: Model) -> Alignment:
    found = align(first, second, FOCAL_PX, TOLERANCE_PX)
    assert found is not None
    return found


def edges_of(blocks: list[Model]) -> dict[tuple[tuple[int, int], tuple[int, int]], Alignment]:
    return {((a, 0), (b, 0)): edge(blocks[a], blocks[b]) for a, b in ((0, 1), (0, 2), (1, 2))}


def assert_close(one: Sim3, other: Sim3, tolerance: float = 1e-6) -> None:
    assert one.scale == pytest.approx(other.scale, rel=tolerance)
    assert rotation_angle_deg(one.rotation, other.rotation) < 60.0 * tolerance
    assert np.allclose(one.translation, other.translation, atol=10.0 * tolerance)


def test_blocks_are_aligned_by_what_both_see_even_where_a_third_of_it_is_wrong(blocks: list[Model]) -> None:
    first, second = blocks[:2]
    rng = np.random.default_rng(1)
    wrong = rng.permutation(len(second.points))[: len(second.points) // 3]
    points = second.points.copy()
    points[wrong] += rng.normal(0.0, 4.0, (len(wrong), 3))
    found = edge(first, replace(second, points=points))
    assert_close(found.first_from_second, FRAMES[0] @ FRAMES[1].inverse, 2e-3)
    assert 0.6 * found.common < found.agreeing < 0.75 * found.common


def test_blocks_that_share_two_images_say_nothing(whole: Model) -> None:
    two = block(whole, range(8, 18), FRAMES[1])
    assert align(block(whole, range(10), FRAMES[0]), two, FOCAL_PX, TOLERANCE_PX) is None


def test_blocks_around_a_loop_get_one_frame(blocks: list[Model]) -> None:
    sizes = {(number, 0): len(one.seen) for number, one in enumerate(blocks)}
    [component], left_out = join_frames(sizes, edges_of(blocks), TOLERANCE_PX)
    assert left_out == []
    for number, frame in enumerate(FRAMES):
        assert_close(component.map_from_blocks[number, 0], frame.inverse)


def walk_around(count: int, wrong: int) -> tuple[list[Sim3], dict[tuple[tuple[int, int], tuple[int, int]], Alignment]]:
    """Frames of blocks along a ring; alignments that err by a pixel, to neighbours and of ten loops, some wrong."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    centres = 20.0 * np.column_stack([np.cos(angles), np.sin(angles), np.zeros(count)])
    scales = np.exp(rng.normal(0.0, 0.5, count))
    frames = [
        Sim3(scale, rotation_matrix([0.0, 0.0, angle]), centre)
        for scale, angle, centre in zip(scales, angles, centres, strict=True)
    ]
    root = np.diag([100.0, 500.0, 500.0, 500.0, 100.0, 100.0, 100.0])
    pairs = [(a, (a + step) % count) for step in (1, 2) for a in range(count)]
    pairs += [(int(a), int(b)) for a, b in rng.choice(count, (10, 2), replace=False)]
    edges = {}
    for number, (a, b) in enumerate(pairs):
        error = rng.normal(size=7) / np.diag(root)
        found = frames[a].inverse @ frames[b] @ Sim3(float(np.exp(error[0])), rotation_matrix(error[1:4]), error[4:])
        if number >= len(pairs) - wrong:
            found = found @ Sim3(1.5, rotation_matrix([0.0, 0.0, 0.5]), np.array([3.0, 0.0, 0.0]))
        edges[(a, 0), (b, 0)] = Alignment(found, int(rng.integers(500, 1000)), 1000, 1.0, root)
    return frames, edges


@pytest.mark.parametrize("wrong", [0, 2])
def test_forty_blocks_around_a_loop_keep_its_shape(wrong: int) -> None:
    frames, edges = walk_around(40, wrong)
    [component], left_out = join_frames(dict.fromkeys([(n, 0) for n in range(40)], 10_000), edges, TOLERANCE_PX)
    assert left_out == []
    for number, frame in enumerate(frames):
        found = frames[0] @ component.map_from_blocks[number, 0]
        assert np.linalg.norm(found.translation - frame.translation) < 0.4  # of 40; along the tree 2 to 12
        assert found.scale == pytest.approx(frame.scale, rel=0.05)


def bent(model: Model, by: float) -> Model:
    """The block as a wrong match bends it: the farther along its images, the more they are turned and moved."""
    poses, points = [], model.points.copy()
    steps = np.linspace(0.0, 1.0, len(model.images))
    for step, pose in zip(steps, model.map_from_cameras, strict=True):
        turn = SE3(rotation_matrix([0.0, 0.0, by * step]), np.array([by * step, 0.0, by * step]))
        poses.append(pose_values(turn @ pose))
    for row in range(len(points)):
        step = float(np.mean(steps[model.seen_by[model.seen == row]]))
        turn = SE3(rotation_matrix([0.0, 0.0, by * step]), np.array([by * step, 0.0, by * step]))
        points[row] = turn @ points[row]
    return replace(model, poses=np.array(poses), points=points)


def test_a_block_that_contradicts_its_neighbours_is_left_out(whole: Model) -> None:
    rows = (range(8), range(4, 12), range(8, 16), (*range(12, 20), 0, 1, 2, 3))
    true = [block(whole, one, Sim3.identity()) for one in rows]
    around = ((0, 1), (1, 2), (2, 3), (0, 3))
    for wrong in (1, 2):
        models = [bent(one, 1.0) if number == wrong else one for number, one in enumerate(true)]
        edges = {((a, 0), (b, 0)): edge(models[a], models[b]) for a, b in around}
        sizes = {(number, 0): len(one.seen) for number, one in enumerate(models)}
        [component], left_out = join_frames(sizes, edges, TOLERANCE_PX)
        assert left_out == [(wrong, 0)]
        assert len(component.map_from_blocks) == 3
        for (number, _), frame in component.map_from_blocks.items():
            assert number != wrong
            assert_close(frame, Sim3.identity(), 1e-4)


def test_two_blocks_that_disagree_are_not_joined(blocks: list[Model]) -> None:
    rng = np.random.default_rng(2)
    scrambled = replace(blocks[1], points=rng.permutation(blocks[1].points))
    edges = {((0, 0), (1, 0)): edge(blocks[0], scrambled)}
    components, left_out = join_frames({(0, 0): 1000, (1, 0): 900}, edges, TOLERANCE_PX)
    assert [list(one.map_from_blocks) for one in components] == [[(0, 0)]]
    assert left_out == [(1, 0)]


def test_a_few_common_things_in_two_places_separate_them_and_no_more(blocks: list[Model]) -> None:
    rng = np.random.default_rng(2)
    scrambled = replace(blocks[1], points=rng.permutation(blocks[1].points))
    edges = {((0, 0), (1, 0)): edge(blocks[0], scrambled)}
    components, left_out = join_frames({(0, 0): 100_000, (1, 0): 90_000}, edges, TOLERANCE_PX)
    assert [list(one.map_from_blocks) for one in components] == [[(0, 0)], [(1, 0)]]
    assert left_out == []


def test_joined_blocks_are_the_whole(whole: Model, blocks: list[Model]) -> None:
    joined = join([one.moved(frame.inverse) for one, frame in zip(blocks, FRAMES, strict=True)])
    assert joined.images.tolist() == whole.images.tolist()
    assert np.allclose(joined.poses, whole.poses, atol=1e-9)
    assert len(joined.points) == len(np.unique(whole.seen))
    assert np.array_equal(joined.observation_keys, whole.observation_keys)
    assert np.allclose(joined.points[joined.seen], whole.points[whole.seen], atol=1e-9)


def test_a_point_that_would_be_seen_twice_by_one_image_keeps_one_observation(whole: Model) -> None:
    first = block(whole, range(10), Sim3.identity())
    keypoints = first.keypoints.copy()
    row = int(np.flatnonzero(first.seen_by == 5)[0])
    partner = int(np.flatnonzero((first.seen == first.seen[row]) & (first.seen_by != 5))[0])
    keypoints[row] = 999  # the other model saw the same point of this image at another keypoint
    second = replace(first, keypoints=keypoints)
    assert first.observation_keys[partner] == second.observation_keys[partner]
    joined = join([first, second])
    pairs = np.column_stack([joined.seen_by, joined.seen])
    assert len(np.unique(pairs, axis=0)) == len(pairs) == len(first.seen)


def pieces_of(whole: Model) -> list[Piece]:
    groups = [np.arange(begin, begin + 4) for begin in range(0, 20, 4)]
    return [Piece(own, cut(whole, own)) for own in groups]


def test_pieces_of_one_colour_see_no_common_point(whole: Model) -> None:
    pieces = pieces_of(whole)
    sets = colour(neighbours(pieces))
    assert sorted(number for numbers in sets for number in numbers) == list(range(5))
    assert len(sets) < 5
    for numbers in sets:
        seen = [set(pieces[number].model.keypoints.tolist()) for number in numbers]
        assert sum(map(len, seen)) == len(set().union(*seen))  # keypoints are numbered as the points here


def test_pieces_are_the_whole_with_what_they_changed(whole: Model) -> None:
    pieces = pieces_of(whole)
    same = join([piece.model for piece in all_agreeing(pieces)])
    assert np.array_equal(same.observation_keys, whole.observation_keys)
    assert np.allclose(same.poses, whole.poses)
    assert np.allclose(same.points[same.seen], whole.points[whole.seen])

    model = pieces[1].model
    dropped = np.flatnonzero(model.images[model.seen_by] == 5)[0]
    adjusted = taken(
        replace(model, poses=model.poses + 0.5, points=model.points + 1.0), np.arange(len(model.seen)) != dropped
    )
    pieces[1] = pieces[1].with_adjusted(adjusted)
    moved = np.isin(pieces[1].model.images, pieces[1].own)
    assert np.allclose(pieces[1].model.poses, model.poses + 0.5 * moved[:, None])  # all others stay
    assert np.allclose(pieces[1].model.points, model.points + 1.0)

    pieces = all_agreeing(pieces)
    for piece in pieces:
        rows = piece.model.images
        assert np.allclose(piece.model.poses, whole.poses[rows] + 0.5 * np.isin(rows, pieces[1].own)[:, None])
    joined = join([piece.model for piece in pieces])
    assert set(whole.observation_keys) - set(joined.observation_keys) == {model.observation_keys[dropped]}


def test_an_image_is_of_one_piece_that_of_its_own_block_first(whole: Model, blocks: list[Model]) -> None:
    registered = {(number, 0): Registered.of(one) for number, one in enumerate(blocks)}
    owns = (np.arange(8), np.arange(8, 14), np.arange(14, 22))  # the last two are in no model
    groups = [Block(own, own, group) for own, group in zip(owns, (0, 0, 2), strict=True)]
    first, second = divide(registered, registered, groups)
    assert first.own.tolist() == list(range(14))
    assert second.own.tolist() == list(range(14, 20))
    assert first.nodes == [(0, 0), (1, 0), (2, 0)]  # all that have images of it
    assert second.nodes == [(1, 0), (2, 0)]

"""The simulated room: its quads, what rays meet, and the atlas of its textures."""

import numpy as np
import pytest

from visloc_ros.simulation.living_room import HEIGHT, LENGTH, WIDTH, make_living_room
from visloc_ros.simulation.room import NO_QUAD, Room, make_quad, pack

GREY = np.full((10, 10, 3), 128, dtype=np.uint8)


def directions(count):
    """Unit vectors (N, 3) all around, on a spiral."""
    z = np.linspace(-1, 1, count)
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z**2)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


def test_a_quad_shows_its_texture_upright_to_whoever_stands_in_front():
    quad = make_quad("picture", (0, 5, 1.5), (0, -1, 0), (0, 0, 1), (2.0, 1.0), GREY)
    np.testing.assert_allclose(quad.normal, [0, -1, 0])
    np.testing.assert_allclose(quad.corner, [-1, 5, 2])  # seen from y < 5, left is towards -x
    np.testing.assert_allclose(quad.point([1.0], [1.0]), [[1, 5, 1]])
    assert quad.size == pytest.approx((2.0, 1.0))


def test_rays_meet_the_nearest_front_at_the_exact_distance():
    near = make_quad("near", (0, 0, 2), (0, 0, -1), (0, 1, 0), (1, 1), GREY)
    far = make_quad("far", (0, 0, 4), (0, 0, -1), (0, 1, 0), (9, 9), GREY)
    hits = Room((far, near)).cast((0, 0, 0), [[0, 0, 1], [0.5, 0, 1], [0, 0, -1], [2, 0, 4]])
    assert hits.quad_rows.tolist() == [1, 0, NO_QUAD, 0]
    np.testing.assert_allclose(hits.distances, [2, 4, np.inf, 1])


def test_backs_are_not_seen():
    quad = make_quad("sheet", (0, 0, 2), (0, 0, -1), (0, 1, 0), (1, 1), GREY)
    assert Room((quad,)).cast((0, 0, 3), [[0, 0, -1]]).quad_rows.tolist() == [NO_QUAD]


def test_light_is_stopped_by_what_stands_between_but_not_by_the_surface_itself():
    table = make_quad("table", (0, 0, 1), (0, 0, 1), (0, 1, 0), (1, 1), GREY)
    floor = make_quad("floor", (0, 0, 0), (0, 0, 1), (0, 1, 0), (9, 9), GREY)
    points = np.array([[0, 0, 0.0], [2, 0, 0], [0, 0, 1], [0, 0, 1.5]])
    visible = Room((table, floor)).visible_from((0, 0, 2), points)
    assert visible.tolist() == [False, True, True, True]


def test_the_living_room_is_closed(living_room):
    for origin in ([3.0, 2.5, 1.4], [1.0, 1.0, 2.2], [4.7, 3.6, 1.0]):
        hits = living_room.cast(origin, directions(4000))
        assert np.all(hits.quad_rows != NO_QUAD)
        assert hits.distances.max() < np.linalg.norm([LENGTH, WIDTH, HEIGHT])


def test_the_living_room_lies_between_its_walls(living_room):
    corners = np.concatenate([quad.point([0, 0, 1, 1], [0, 1, 0, 1]) for quad in living_room.quads])
    assert corners.min() > -1e-9
    assert np.all(corners < np.array([LENGTH, WIDTH, HEIGHT]) + 1e-9)
    np.testing.assert_allclose(living_room.size, [LENGTH, WIDTH, HEIGHT])


def test_every_surface_has_its_own_name_and_its_own_texture(living_room):
    names = [quad.name for quad in living_room.quads]
    assert len(set(names)) == len(names)
    assert len({quad.texture.tobytes() for quad in living_room.quads}) == len(names)
    assert living_room.quad("floor").normal.tolist() == [0, 0, 1]


def test_the_seed_paints_the_room(living_room):
    other = make_living_room(seed=1)
    assert [quad.name for quad in other.quads] == [quad.name for quad in living_room.quads]
    for name in ("floor", "hills front", "books 0 0 front"):
        assert np.any(other.quad(name).texture != living_room.quad(name).texture)


def sample(atlas, x, y, level):
    shape = (1, len(x))
    coordinates = (np.asarray(v, dtype=np.float32).reshape(shape) for v in (x, y))
    return atlas.sample(*coordinates, np.full(shape, level, dtype=np.intp))[0]


@pytest.fixture
def textures():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 70, 3), (128, 16, 3), (8, 300, 3), (90, 90, 3))
    ]


def test_texel_centres_give_the_texels_back(textures):
    atlas = pack(textures, width=400)
    for texture, (x, y, width, height) in zip(textures, atlas.boxes, strict=True):
        assert texture.shape[:2] == (height, width)
        np.testing.assert_array_equal(sample(atlas, [x + 5.5], [y + 3.5], 0)[0], texture[3, 5])


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_mip_texel_is_the_mean_of_its_square(textures, level):
    atlas, side = pack(textures, width=400), 2**level
    x, y, *_ = atlas.boxes[3]
    found = sample(atlas, [x + 0.5 * side], [y + 0.5 * side], level)[0]
    np.testing.assert_allclose(found, textures[3][:side, :side].mean(axis=(0, 1)), atol=1.5)


def test_neighbours_do_not_bleed_at_any_level():
    white, black = np.full((50, 50, 3), 255, np.uint8), np.zeros((50, 50, 3), np.uint8)
    atlas = pack([black, white, black], width=400)
    x, y, width, height = atlas.boxes[1]
    for level in range(atlas.num_levels):
        corners = sample(atlas, [x, x + width, x, x + width], [y, y, y + height, y + height], level)
        assert np.all(corners == 255)


def test_textures_that_cannot_be_placed_are_refused():
    with pytest.raises(ValueError, match="smaller"):
        pack([np.zeros((10, 500, 3), np.uint8)], width=400)

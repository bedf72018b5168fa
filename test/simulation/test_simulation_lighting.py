import numpy as np
import pytest

from visloc_ros.simulation.lighting import Lamp, Light, bake
from visloc_ros.simulation.living_room import LIGHTS
from visloc_ros.simulation.room import Room, make_quad

GREY = np.full((60, 60, 3), 100, dtype=np.uint8)
LAMP = Lamp((0.0, 0.0, 3.0), ((0.2, 0.0, 0.0), (0.0, -0.2, 0.0)), (6.0, 6.0, 6.0))


@pytest.fixture
def floor():
    return make_quad("floor", (0, 0, 0), (0, 0, 1), (0, 1, 0), (4, 4), GREY)


def test_a_table_throws_a_soft_shadow(floor):
    table = make_quad("table", (0, 0, 1), (0, 0, 1), (0, 1, 0), (1, 1), GREY)
    lit = bake(Room((floor, table)), Light((0.3, 0.3, 0.3), (LAMP,)))
    row = lit.quad("floor").texture[30, :, 0].astype(int)
    shadow, penumbra, open_floor = row[30], row[16:22], row[12]
    assert shadow < 0.7 * open_floor
    assert np.any((penumbra > shadow + 5) & (penumbra < open_floor - 5))
    assert lit.quad("table").texture[30, 30, 0] > open_floor


def test_a_lamp_shines_to_its_front_only(floor):
    away = Lamp(LAMP.centre, (LAMP.half_edges[1], LAMP.half_edges[0]), LAMP.strength)
    dark, lit = (bake(Room((floor,)), Light((0.2, 0.2, 0.2), (lamp,))).quads[0].texture for lamp in (away, LAMP))
    np.testing.assert_array_equal(dark, bake(Room((floor,)), Light((0.2, 0.2, 0.2), ())).quads[0].texture)
    assert lit[30, 30, 0] > dark[30, 30, 0] + 20


def test_light_has_a_colour(floor):
    texture = bake(Room((floor,)), Light((0.8, 0.5, 0.2), ())).quads[0].texture
    red, green, blue = texture[30, 30]
    assert red > green > blue


@pytest.mark.parametrize("name", ["day", "evening"])
def test_the_lights_neither_drown_nor_burn_the_room(plain_room, name):
    texture = np.concatenate([quad.texture.reshape(-1, 3) for quad in bake(plain_room, LIGHTS[name]).quads])
    assert 80 < texture.mean() < 190
    assert np.mean(texture == 255) < 0.02


def test_at_night_little_light_is_left_but_around_one_lamp(plain_room):
    night = bake(plain_room, LIGHTS["night"])
    assert np.concatenate([quad.texture.ravel() for quad in night.quads]).mean() < 45
    floor = next(quad for quad in night.quads if quad.normal[2] > 0.9)
    near, far = (brightness_at(floor, point) for point in ((5.2, 0.7), (0.8, 4.3)))
    assert near > 3.0 * far > 0.0


def brightness_at(quad, xy):
    """The mean grey level of a spot of a horizontal quad."""
    offset = np.array([*xy, 0.0]) - quad.corner
    s, t = (offset @ edge / (edge @ edge) for edge in (quad.right, quad.down))
    row, column = round(t * quad.texture.shape[0]), round(s * quad.texture.shape[1])
    return quad.texture[row - 5 : row + 5, column - 5 : column + 5].mean()

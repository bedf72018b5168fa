import numpy as np
import pytest

from visloc_ros.simulation.room import pack


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

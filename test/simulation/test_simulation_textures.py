import cv2
import numpy as np
import pytest

from visloc_ros.simulation import pictures, textures

MATERIALS = {
    "plaster": textures.plaster((150, 140, 130)),
    "bricks": textures.bricks,
    "planks": textures.planks((150, 110, 70)),
    "fabric": textures.fabric((90, 100, 130)),
    "shapes": pictures.shapes,
    "landscape": pictures.landscape,
    "mosaic": pictures.mosaic,
    "page": pictures.page,
    "books": pictures.books,
    "wallpaper": pictures.wallpaper((220, 210, 190)),
    "rug": pictures.rug,
    "framed": pictures.picture(pictures.shapes, (60, 44, 34)),
}


def paint(name, seed=0, width=1.0, height=0.75, density=400.0):
    return MATERIALS[name](np.random.default_rng(seed), width, height, density)


@pytest.fixture(params=MATERIALS)
def name(request):
    return request.param


def test_a_texture_has_the_size_asked_for_and_depends_on_the_generator_alone(name):
    image = paint(name)
    assert image.shape == (300, 400, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, paint(name))
    assert np.mean(image != paint(name, seed=1)) > 0.5


def test_a_texture_has_detail_at_every_scale(name):
    band = cv2.cvtColor(paint(name), cv2.COLOR_RGB2GRAY).astype(np.float32)
    for _ in range(5):
        coarser = cv2.pyrDown(band)
        detail = band - cv2.pyrUp(coarser, dstsize=band.shape[::-1])
        assert detail.std() > 0.8
        band = coarser


def test_a_texture_gives_trackers_corners_all_over(name):
    grey = cv2.cvtColor(paint(name), cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(grey, 2000, 0.003, 5).reshape(-1, 2)
    tiles = np.histogram2d(*corners.T, bins=(4, 3), range=((0, 400), (0, 300)))[0]
    assert tiles.min() >= 4


def test_a_texture_does_not_repeat_itself(name):
    """No shift of the image by more than its own detail looks like the image (normalised autocorrelation)."""
    grey = cv2.cvtColor(paint(name), cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey -= cv2.GaussianBlur(grey, None, 8)
    patch = grey[110:190, 150:250]
    likeness = cv2.matchTemplate(grey, patch, cv2.TM_CCOEFF_NORMED)
    likeness[95:126, 135:166] = 0
    assert likeness.max() < 0.7


@pytest.mark.parametrize("extent", [(0.03, 0.5), (0.7, 0.03), (0.04, 0.04)])
@pytest.mark.parametrize("surface", ["plaster", "planks", "fabric"])
def test_narrow_pieces_can_be_painted(surface, extent):
    image = paint(surface, width=extent[0], height=extent[1], density=330.0)
    assert image.shape[:2] == textures.texels(*extent, 330.0)
    assert image.std() > 0

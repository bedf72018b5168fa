import cv2
import numpy as np

from visloc_ros.tracking.patches import STEPS_PX, Patches, change_of_shape, find_patches, inverted
from visloc_ros.tracking.pyramid import Pyramid

WINDOW_PX = 21


def texture(height, width, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0) + cv2.GaussianBlur(noise, (0, 0), 6.0)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def moved_by(image, matrix):
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def shapes_of(number, matrix=None):
    return np.broadcast_to(np.eye(2) if matrix is None else np.linalg.inv(matrix), (number, 2, 2))


def patches_of(image, pixels, shapes):
    return Patches([Pyramid(image)], np.zeros(len(pixels), dtype=np.intp), pixels, shapes)


def grid(low, high, number):
    return np.random.default_rng(0).uniform(low, high, (number, 2)).astype(np.float32)


def test_a_patch_is_found_again_turned_zoomed_and_darker():
    image = texture(480, 640)
    matrix = cv2.getRotationMatrix2D((320, 240), 30.0, 1.3)
    after = (0.6 * moved_by(image, matrix)).astype(np.uint8)
    pixels = grid([230, 170], [410, 310], 60)
    truth = pixels @ matrix[:, :2].T + matrix[:, 2]
    guess = (truth + np.array([3.0, -2.0])).astype(np.float32)
    patches = patches_of(image, pixels, shapes_of(60, matrix[:, :2]))
    found, good = find_patches(patches, Pyramid(after), guess, WINDOW_PX, 1)
    assert good.mean() > 0.9
    assert np.median(np.linalg.norm(found - truth, axis=1)[good]) < 0.1


def test_a_patch_of_another_place_is_refused():
    pixels = grid([100, 100], [500, 380], 40)
    patches = patches_of(texture(480, 640), pixels, shapes_of(40))
    _, good = find_patches(patches, Pyramid(texture(480, 640, seed=9)), pixels, WINDOW_PX, 1)
    assert not good.any()


def test_every_level_finds_patches_from_farther_away():
    image = texture(480, 640)
    pixels = grid([100, 100], [500, 380], 60)
    shares = []
    for coarsest in range(3):
        patches, guess = patches_of(image, pixels, shapes_of(60)), pixels + np.float32([9.0, 6.0])
        found, good = find_patches(patches, Pyramid(image), guess, WINDOW_PX, coarsest)
        shares.append(np.mean(good & (np.linalg.norm(found - pixels, axis=1) < 0.1)))
    assert shares[0] < 0.5
    assert shares[1] > shares[0]
    assert shares[2] > 0.9


def test_a_search_may_end_above_the_image_itself():
    image = texture(480, 640)
    pixels = grid([100, 100], [500, 380], 60)
    found, good = find_patches(patches_of(image, pixels, shapes_of(60)), Pyramid(image), pixels + 8, WINDOW_PX, 2, 2)
    assert good.mean() > 0.9
    assert np.median(np.linalg.norm(found - pixels, axis=1)[good]) < 0.3


def test_patches_of_several_images_are_found_at_once():
    images = [texture(240, 320, seed) for seed in (1, 2)]
    half = np.hstack([images[0][:, :160], images[1][:, 160:]])
    pixels = np.concatenate([grid([30, 30], [130, 210], 20), grid([190, 30], [290, 210], 20)])
    patches = Patches([Pyramid(image) for image in images], np.repeat([0, 1], 20), pixels, shapes_of(40))
    found, good = find_patches(patches, Pyramid(half), pixels + 1, WINDOW_PX, 1)
    assert good.all()
    assert np.linalg.norm(found - pixels, axis=1).max() < 0.1


def test_more_patches_than_the_image_has_room_for_are_found():
    image = texture(120, 160)
    pixels = grid([20, 20], [140, 100], 200)
    found, good = find_patches(patches_of(image, pixels, shapes_of(200)), Pyramid(image), pixels + 1, 9, 1)
    assert good.mean() > 0.95
    assert np.median(np.linalg.norm(found - pixels, axis=1)[good]) < 0.05


def test_a_patch_may_be_larger_than_a_small_level_of_the_pyramid():
    image = texture(120, 160)
    pixels = grid([60, 50], [100, 70], 10)
    found, good = find_patches(patches_of(image, pixels, shapes_of(10)), Pyramid(image), pixels + 1, 61, 3)
    assert good.all()
    assert np.linalg.norm(found - pixels, axis=1).max() < 0.1


def test_no_patches_are_found_without_any():
    none = np.empty((0, 2), dtype=np.float32)
    found, good = find_patches(patches_of(texture(60, 60), none, shapes_of(0)), Pyramid(texture(60, 60)), none, 9, 1)
    assert len(found) == len(good) == 0


def test_three_places_give_the_change_of_shape():
    matrix = np.array([[1.2, -0.3], [0.1, 0.8]])
    changes, areas = change_of_shape(*(STEPS_PX.astype(np.float64)[:, None] @ matrix.T))
    np.testing.assert_allclose(changes[0], matrix)
    np.testing.assert_allclose(areas, np.linalg.det(matrix))
    np.testing.assert_allclose(inverted(changes, areas)[0] @ matrix, np.eye(2), atol=1e-12)


def test_a_pixel_lies_at_half_its_coordinates_on_the_next_level():
    image = np.zeros((64, 96), dtype=np.uint8)
    cv2.circle(image, (40, 24), 6, 255, -1)
    half = Pyramid(image).level(1).astype(float)
    y, x = np.mgrid[: half.shape[0], : half.shape[1]]
    np.testing.assert_allclose([(half * x).sum() / half.sum(), (half * y).sum() / half.sum()], [20, 12], atol=0.05)


def test_every_level_is_made_once():
    pyramid = Pyramid(np.zeros((64, 96), dtype=np.uint8))
    assert pyramid.level(2).shape == (16, 24)
    assert pyramid.level(2) is pyramid.level(2)

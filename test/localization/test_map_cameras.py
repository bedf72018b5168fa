import pycolmap
import pytest

from visloc_ros.localization.map_cameras import cameras_for_size

CAMERA = pycolmap.Camera(model="SIMPLE_RADIAL", width=1920, height=1080, params=[1500, 970, 530, -0.05])


def params_for(width, height, cameras=(CAMERA,)):
    return [camera.params.tolist() for camera in cameras_for_size(cameras, width, height)]


def test_images_of_the_same_size_have_the_maps_camera():
    assert cameras_for_size([CAMERA], 1920, 1080) == [CAMERA]
    assert cameras_for_size([CAMERA, pycolmap.Camera(CAMERA.todict())], 1920, 1080) == [CAMERA]


def test_images_of_another_resolution_have_it_scaled():
    assert params_for(960, 540) == [pytest.approx([750, 485, 265, -0.05])]
    assert len(params_for(959, 540)) == 1  # rounded when it was halved


def test_a_portrait_has_it_turned_one_way_or_the_other():
    ways = [pytest.approx([1500, 1080 - 530, 970, -0.05]), pytest.approx([1500, 530, 1920 - 970, -0.05])]
    assert params_for(1080, 1920) == ways
    assert [params[0] for params in params_for(540, 960)] == [750, 750]


def test_a_centred_camera_turns_into_one_camera():
    centred = pycolmap.Camera(model="SIMPLE_RADIAL", width=1920, height=1080, params=[1500, 960, 540, -0.05])
    assert params_for(1080, 1920, [centred]) == [pytest.approx([1500, 540, 960, -0.05])]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1080, 1080), (1920, 1440)])
def test_a_crop_of_unknown_parts_says_nothing(width, height):
    assert params_for(width, height) == []


def test_every_camera_of_the_map_that_fits_is_told():
    other = pycolmap.Camera(model="SIMPLE_RADIAL", width=1920, height=1080, params=[1100, 960, 540, 0.0])
    square = pycolmap.Camera(model="SIMPLE_PINHOLE", width=800, height=800, params=[700, 400, 400])
    assert cameras_for_size([CAMERA, other, square], 1920, 1080) == [CAMERA, other]
    assert cameras_for_size([CAMERA, other, square], 800, 800) == [square]

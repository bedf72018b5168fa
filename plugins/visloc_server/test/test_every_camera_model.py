"""All camera models of the installed COLMAP, in maps, calibration files, camera_info and requests: read, or refused."""

import pycolmap
import pytest

from visloc_ros.core.colmap_model import read_colmap_model
from visloc_ros.core.colmap_text import read_text_model
from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.sources.calibration import camera_from_camera_info_fields, camera_info_fields
from visloc_ros.sources.camera_files import read_camera_file, write_camera_yaml
from visloc_server.uploads import camera_in_words

MODELS = sorted(set(pycolmap.CameraModelId.__members__) - {"INVALID"})
PANORAMA = "EQUIRECTANGULAR"
IN_CAMERA_INFO = {
    "SIMPLE_PINHOLE": "PINHOLE",
    "PINHOLE": "PINHOLE",
    "SIMPLE_RADIAL": "PINHOLE",
    "RADIAL": "PINHOLE",
    "OPENCV": "PINHOLE",
    "FULL_OPENCV": "PINHOLE",
    "SIMPLE_FISHEYE": "OPENCV_FISHEYE",
    "FISHEYE": "OPENCV_FISHEYE",
    "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "OPENCV_FISHEYE": "OPENCV_FISHEYE",
}
"""What is made of a camera whose distortion is zero."""


@pytest.fixture(params=MODELS)
def camera(request):
    return pycolmap.Camera.create_from_model_name(1, request.param, 400.0, 640, 480)


def read_or_refuse(read, camera, error=CalibrationError):
    """Reads the camera and gives its model, or checks that it is refused by its name."""
    if camera.model.name != PANORAMA:
        assert read().params.tolist() == pytest.approx(camera.params.tolist())
        return
    with pytest.raises(error, match="EQUIRECTANGULAR has no focal length"):
        read()


def test_there_are_the_models_that_this_table_is_of():
    assert len(MODELS) >= 18
    assert set(IN_CAMERA_INFO) < set(MODELS)


@pytest.mark.parametrize(
    ("write", "read"), [("write_binary", read_colmap_model), ("write_text", read_text_model)], ids=["binary", "text"]
)
def test_in_a_map(tmp_path, camera, write, read):
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    for number in (1, 2):
        image = pycolmap.Image(name=f"{number}.jpg", camera_id=1, image_id=number, keypoints=[[10.0, 20.0]])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d())
    model.add_point3D([0.0, 0.0, 1.0], pycolmap.Track([pycolmap.TrackElement(number, 0) for number in (1, 2)]))
    getattr(model, write)(tmp_path)
    read_or_refuse(lambda: read(tmp_path).cameras[1], camera, MapError)


def test_in_a_calibration_file(tmp_path, camera):
    write_camera_yaml(tmp_path / "camera.yaml", camera)
    read_or_refuse(lambda: read_camera_file(tmp_path / "camera.yaml"), camera)


def test_in_a_request(camera):
    words = " ".join(map(str, [camera.model.name, camera.width, camera.height, *camera.params]))
    read_or_refuse(lambda: camera_in_words(words)(640, 480), camera)


def test_in_camera_info(camera):
    name = camera.model.name
    if name not in IN_CAMERA_INFO:
        with pytest.raises(CalibrationError, match=f"no distortion model for COLMAP's {name}: use OPENCV"):
            camera_info_fields(camera)
        return
    back = camera_from_camera_info_fields(640, 480, *camera_info_fields(camera))
    assert (back.model.name, back.mean_focal_length()) == (IN_CAMERA_INFO[name], 400.0)

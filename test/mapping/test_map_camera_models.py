"""Every camera model of the installed COLMAP: mapped at known and at unknown poses, written, opened and localized.

The parameters of FULL_OPENCV are of the size that calibrations of depth cameras have.
The scenes are COLMAP's own, synthesized and exact; the lens has a distortion where the model has one.
"""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.map import LocalFeatures, Manifest, open_map
from visloc_ros.core.map_writer import write_map
from visloc_ros.localization.pose import solve_pose
from visloc_ros.mapping.camera_knowledge import assess_cameras
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.reconstruction import reconstruct, triangulate_at_known_poses
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import SfmImage, registered_poses

CONFIG = ReconstructionConfig(threads=1)
PARAMS = {
    "SIMPLE_PINHOLE": [400, 320, 240],
    "PINHOLE": [400, 402, 320, 240],
    "SIMPLE_RADIAL": [400, 320, 240, -0.05],
    "RADIAL": [400, 320, 240, -0.05, 0.01],
    "OPENCV": [400, 402, 320, 240, -0.05, 0.01, 0.001, -0.001],
    "FULL_OPENCV": [400, 402, 320, 240, 0.49, -2.46, 0.001, -0.001, 1.4, 0.37, -2.28, 1.33],
    "SIMPLE_FISHEYE": [400, 320, 240],
    "FISHEYE": [400, 402, 320, 240],
    "SIMPLE_RADIAL_FISHEYE": [400, 320, 240, 0.02],
    "RADIAL_FISHEYE": [400, 320, 240, 0.02, 0.005],
    "OPENCV_FISHEYE": [400, 402, 320, 240, 0.02, 0.005, 0.001, 0.001],
    "THIN_PRISM_FISHEYE": [400, 402, 320, 240, 0.02, 0.005, 0.001, -0.001, 0.001, 0.001, 0.001, 0.001],
    "RAD_TAN_THIN_PRISM_FISHEYE": [
        *(400, 402, 320, 240),
        *(0.02, 0.005, 0.001, 0.001, 0.001, 0.001),
        *(0.001, -0.001, 0.001, 0.001, 0.001, 0.001),
    ],
    "FOV": [400, 402, 320, 240, 0.6],
    "SIMPLE_DIVISION": [400, 320, 240, -0.05],
    "DIVISION": [400, 402, 320, 240, -0.05],
    "EUCM": [400, 402, 320, 240, 0.6, 1.1],
}
PANORAMA = "EQUIRECTANGULAR"


def test_these_are_all_models():
    assert {*PARAMS, PANORAMA} == set(pycolmap.CameraModelId.__members__) - {"INVALID"}


def test_the_one_without_a_focal_length_is_refused_with_what_to_do():
    with pytest.raises(CalibrationError, match="EQUIRECTANGULAR has no focal length: cut its panoramas into persp"):
        camera_from_params(PANORAMA, 640, 320, [640, 320])


class Scene:
    """A synthesized scene as images for structure from motion, their matches and true poses."""

    def __init__(self, model):
        options = pycolmap.SyntheticDatasetOptions(
            num_rigs=1,
            num_cameras_per_rig=1,
            num_frames_per_rig=8,
            num_points3D=200,
            num_points2D_without_point3D=0,
            camera_width=640,
            camera_height=480,
            camera_model_id=pycolmap.CameraModelId.__members__[model],
            camera_params=PARAMS[model],
        )
        pycolmap.set_random_seed(0)
        truth = pycolmap.synthesize_dataset(options)
        images = [truth.images[image_id] for image_id in sorted(truth.images)]
        self.camera = camera_from_params(model, 640, 480, PARAMS[model])
        shared = MapCamera(self.camera, calibrated=True)
        keypoints = [np.array([point.xy for point in image.points2D], np.float32) for image in images]
        self.views = [SfmImage(image.name, one, shared) for image, one in zip(images, keypoints, strict=True)]
        self.poses = [SE3.from_rigid3d(image.cam_from_world()).inverse for image in images]
        self.points = [
            [truth.points3D[point.point3D_id].xyz if point.has_point3D() else None for point in image.points2D]
            for image in images
        ]
        ids = [np.array([int(point.point3D_id) for point in image.points2D]) for image in images]
        self.matches = {
            (i, j): np.stack(np.intersect1d(ids[i], ids[j], return_indices=True)[1:], axis=1).astype(np.int32)
            for i in range(len(ids))
            for j in range(i + 1, len(ids))
        }


@pytest.fixture(scope="module", params=sorted(PARAMS))
def scene(request):
    return Scene(request.param)


def features_at(keypoints):
    """Features whose descriptors do not matter."""
    return LocalFeatures(
        keypoints, np.ones(len(keypoints), np.float32), np.ones((len(keypoints), 8), np.float16), (640, 480)
    )


def aligned_errors(scene, model):
    """Largest errors of the poses, after alignment to the truth: metres and degrees."""
    true = {view.name: pose for view, pose in zip(scene.views, scene.poses, strict=True)}
    transform(model, align_to_references(registered_poses(model), true))
    pairs = [(pose, true[name]) for name, pose in registered_poses(model).items()]
    distances = [float(np.linalg.norm(pose.translation - one.translation)) for pose, one in pairs]
    return max(distances), max(rotation_angle_deg(pose.rotation, one.rotation) for pose, one in pairs)


def test_it_is_mapped_at_unknown_poses(scene):
    model = reconstruct(scene.views, scene.matches, CONFIG)
    assert model.num_reg_images() == len(scene.views)
    distance, turn = aligned_errors(scene, model)
    assert distance < 0.01
    assert turn < 0.05


def test_a_map_at_known_poses_is_written_opened_and_localized_in(scene, tmp_path):
    model = triangulate_at_known_poses(scene.views, scene.poses, scene.matches, CONFIG)
    assert model.num_reg_images() == len(scene.views)
    (known,) = assess_cameras(model, {view.name: replace(view.camera, calibrated=False) for view in scene.views})
    assert 0.0 < known.focal_sigma < 0.35
    features = {view.name: features_at(view.keypoints) for view in scene.views}
    manifest = Manifest("scene", "synthesized", {}, metric=False, gravity_aligned=False)
    descriptors = {view.name: np.ones(4, np.float32) for view in scene.views}
    write_map(tmp_path, model, features, descriptors, np.empty((0, 0), np.float32), manifest)
    map_ = open_map(tmp_path)
    assert map_.images[0].camera.model == scene.camera.model
    assert map_.images[0].camera.params.tolist() == pytest.approx(scene.camera.params.tolist())
    image = map_.images[3]
    seen = image.point_rows >= 0
    solution = solve_pose(
        image.features.keypoints[seen].astype(float), map_.points[image.point_rows[seen]], image.camera
    )
    assert solution.num_inliers > 0.9 * seen.sum()
    true = dict(zip((view.name for view in scene.views), scene.poses, strict=True))[image.name]
    assert solution.map_from_camera.is_close(true, 0.01, 0.1)

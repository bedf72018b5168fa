"""A small map of real images at known poses, and queries that it has not seen, against the truth."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from visloc_ros.core.calibration import guess_calibration
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.core.types import AnchorPose, Frame, Reason, Rejection
from visloc_ros.features import FeatureConfig, MatcherConfig, Vlad, VladConfig, make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "7scenes_redkitchen"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")

CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525, 525, 320, 240])
MAP_FRAMES = range(0, 50, 10)
QUERIES = (15, 35)


def read_frame(index, truth):
    image = cv2.cvtColor(cv2.imread(str(DATA / "rgb" / f"frame-{index:06d}.color.jpg")), cv2.COLOR_BGR2RGB)
    return Frame(int(truth.stamps_ns[index]), image, CAMERA)


def triangulate_pairs(poses, features, matcher):
    """Points of neighbouring images by linear triangulation, each pair for itself, and every keypoint's point."""
    points, rows = [], [np.full(len(one), NO_POINT, np.int32) for one in features]
    for first in range(len(features) - 1):
        second = first + 1
        for a, b in matcher.match(features[first], features[second]).pairs:
            observed = [(poses[first], features[first].keypoints[a]), (poses[second], features[second].keypoints[b])]
            point = intersect(observed)
            if point is not None and rows[first][a] == NO_POINT:
                rows[first][a] = rows[second][b] = len(points)
                points.append(point)
    return np.array(points), rows


def intersect(observed):
    """Point closest to two rays, or None where it does not lie on both within three pixels."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for pose, pixel in observed:
        ray = pose.rotation @ np.append(CAMERA.cam_from_img(pixel), 1.0)
        across = np.eye(3) - np.outer(ray, ray) / (ray @ ray)
        normal, right = normal + across, right + across @ pose.translation
    if np.linalg.cond(normal) > 1e4:
        return None
    point = np.linalg.solve(normal, right)
    errors = [np.linalg.norm(CAMERA.img_from_cam(pose.inverse @ point) - pixel) for pose, pixel in observed]
    return point if max(errors) < 3.0 else None


@pytest.fixture(scope="module")
def truth():
    return read_tum(DATA / "groundtruth_tum.txt")


@pytest.fixture(scope="module")
def engine(truth):
    precision = "float32"  # on any processor alike
    extractor = make_extractor(FeatureConfig(precision=precision))
    matcher = make_matcher(MatcherConfig(precision=precision))
    features = [extractor.extract(read_frame(index, truth).image) for index in MAP_FRAMES]
    poses = [truth.poses[index] for index in MAP_FRAMES]
    points, rows = triangulate_pairs(poses, features, matcher)
    images = tuple(
        MapImage(f"{index}.jpg", pose, CAMERA, one, row)
        for index, pose, one, row in zip(MAP_FRAMES, poses, features, rows, strict=True)
    )
    vlad = Vlad.train([one.descriptors for one in features], VladConfig(clusters=32))
    descriptors = np.stack([vlad.describe_features(one) for one in features])
    manifest = Manifest("kitchen", "test", {"extractor": extractor.info}, metric=True, gravity_aligned=False)
    return AnchorEngine(
        Map("kitchen", manifest, images, points, descriptors, vlad.centroids), AnchorConfig(), extractor, matcher
    )


@pytest.mark.parametrize("index", QUERIES)
@pytest.mark.parametrize("with_prior", [False, True])
def test_an_unseen_image_is_found_within_a_few_centimetres(engine, truth, index, with_prior):
    prior = truth.poses[index - 5] if with_prior else None
    anchor = engine.localize(read_frame(index, truth), prior)
    assert isinstance(anchor, AnchorPose)
    error = np.linalg.norm(anchor.map_from_camera.translation - truth.poses[index].translation)
    assert error < 0.05
    assert rotation_angle_deg(anchor.map_from_camera.rotation, truth.poses[index].rotation) < 2.0
    assert anchor.num_inliers >= 50
    assert 0.0 < np.sqrt(np.trace(anchor.covariance[:3, :3])) < 0.1


def test_an_image_out_of_focus_is_found_at_half_its_size(engine, truth):
    index = 15
    frame = read_frame(index, truth)
    frame = replace(frame, image=cv2.GaussianBlur(frame.image, (0, 0), 3.0))
    features = engine.extractor.extract(frame.image)
    assert isinstance(engine.localize(frame, features=features), Rejection)
    anchor = engine.localize(frame)
    assert isinstance(anchor, AnchorPose)
    error = np.linalg.norm(anchor.map_from_camera.translation - truth.poses[index].translation)
    assert error < min(0.15, 4.0 * np.sqrt(np.trace(anchor.covariance[:3, :3])))
    assert rotation_angle_deg(anchor.map_from_camera.rotation, truth.poses[index].rotation) < 3.0


def test_a_map_image_is_its_own_nearest_reference(engine, truth):
    config = replace(engine.config, guided=replace(engine.config.guided, enabled=False))  # orders by points in view
    by_likeness = AnchorEngine(engine.map, config, engine.extractor, engine.matcher)
    anchor = by_likeness.localize(read_frame(MAP_FRAMES[2], truth))
    assert anchor.references[0] == f"{MAP_FRAMES[2]}.jpg"


def without_calibration(index, truth, zoom=1.0, size=(640, 480)):
    """A frame as a camera without calibration would give it, its middle enlarged, at another resolution."""
    frame, guess = read_frame(index, truth), guess_calibration(*size)
    scale = zoom * size[0] / 640
    warp = np.array([[scale, 0, size[0] / 2 - scale * 320], [0, scale, size[1] / 2 - scale * 240]])
    image = cv2.warpAffine(frame.image, warp, size, flags=cv2.INTER_CUBIC)
    return Frame(frame.stamp_ns, image, guess.camera, calibration=guess)


@pytest.mark.parametrize(
    ("index", "zoom", "size"), [(15, 1.0, (640, 480)), (35, 1.0, (800, 600)), (15, 1.2, (640, 480))]
)
def test_without_calibration_the_focal_length_is_right_or_there_is_no_pose(engine, truth, index, zoom, size):
    anchor = engine.localize(without_calibration(index, truth, zoom, size))
    assert isinstance(anchor, AnchorPose)
    sigma = anchor.calibration.focal_sigma
    assert 0.0 < sigma <= 0.05
    focal_error = np.log(anchor.calibration.camera.mean_focal_length() / (525 * zoom * size[0] / 640))
    assert abs(focal_error) < 3.0 * sigma
    assert np.linalg.norm(anchor.map_from_camera.translation - truth.poses[index].translation) < 0.08


@pytest.mark.parametrize("value", [0, 127, 255])
def test_black_and_uniform_frames_are_rejected(engine, value):
    rejection = engine.localize(Frame(1, np.full((480, 640, 3), value, np.uint8), CAMERA))
    assert rejection.reason is Reason.FEW_FEATURES


def test_noise_is_rejected(engine):
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    rejection = engine.localize(Frame(1, noise, CAMERA))
    assert rejection.reason in (Reason.FEW_FEATURES, Reason.FEW_MATCHES, Reason.FEW_INLIERS)

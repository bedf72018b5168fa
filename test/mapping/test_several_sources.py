"""Several sources of a kitchen in one map: each with its own camera, its own reference poses or none."""

import cv2
import numpy as np
import pytest
from kitchen_map import CONFIG

from visloc_ros.core.camera import guess_camera, rescale
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import rotation_angle_deg, umeyama
from visloc_ros.core.map import open_map
from visloc_ros.core.types import Frame
from visloc_ros.mapping import MappingConfig, build_map

QUICK = MappingConfig.from_mapping({**CONFIG.to_mapping(), "matcher": {"name": "nearest"}})
EVEN = ["0.png", "1.png", "2.png", "3.png"]


class Part:
    """Every other frame of the kitchen, numbered, as a camera of its own would have seen them."""

    skipped, ground_truth = 0, None

    def __init__(self, name, kitchen, start, camera, calibrated=True):
        self.name, self.camera, self.calibrated = name, camera, calibrated
        self._frames = list(kitchen)[start::2]

    def __len__(self):
        return len(self._frames)

    def __iter__(self):
        size = (self.camera.width, self.camera.height)
        for number, frame in enumerate(self._frames):
            image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
            yield Frame(frame.stamp_ns, image, self.camera, f"{number}.png")


@pytest.fixture(scope="session")
def kitchen(longer):
    """Eight images, four for each source."""
    return longer


@pytest.fixture(scope="module")
def robot(kitchen):
    return Part("robot", kitchen, 0, kitchen.camera)


@pytest.fixture(scope="module")
def phone(kitchen):
    return Part("phone", kitchen, 1, rescale(kitchen.camera, 480, 360))


@pytest.fixture(scope="module")
def built(kitchen, robot, phone, tmp_path_factory):
    """Map of both at the true poses of the robot: its folder and summary."""
    path = tmp_path_factory.mktemp("maps") / "joined"
    references = [kitchen.ground_truth, None]
    return path, build_map([robot, phone], path, QUICK, reference_poses=references)


def true_poses(kitchen):
    """True poses by the names that the map gives."""
    truth = [kitchen.ground_truth.interpolate(frame.stamp_ns) for frame in kitchen]
    even = {name: truth[2 * number] for number, name in enumerate(EVEN)}
    return even | {f"phone/{name}": truth[2 * number + 1] for number, name in enumerate(EVEN)}


class TestSomeReferencePoses:
    def test_images_without_are_registered_beside_those_with(self, kitchen, built):
        true = true_poses(kitchen)
        images = open_map(built[0]).images
        assert {image.name for image in images} == set(true)
        for image in images:
            error = np.linalg.norm(image.map_from_camera.translation - true[image.name].translation)
            assert error < (0.1 if image.name.startswith("phone/") else 1e-9)
            assert rotation_angle_deg(image.map_from_camera.rotation, true[image.name].rotation) < 4.0

    def test_every_source_has_its_camera(self, robot, phone, built):
        for image in open_map(built[0]).images:
            camera = phone.camera if image.name.startswith("phone/") else robot.camera
            assert (image.camera.width, image.camera.height) == (camera.width, camera.height)
            assert list(image.camera.params) == list(camera.params)

    def test_manifest_and_summary_name_both(self, built):
        manifest, summary = open_map(built[0]).manifest, built[1]
        assert (manifest.created_from, manifest.metric) == ("robot, phone", True)
        assert len(manifest.cameras) == 2
        assert [(count.source, count.registered) for count in summary.by_source] == [("robot", 4), ("phone", 4)]


class TestNoReferencePoses:
    def test_sources_are_joined_and_only_guessed_cameras_refined(self, kitchen, robot, tmp_path):
        phone = Part("phone", kitchen, 1, guess_camera(480, 360), calibrated=False)
        build_map([robot, phone], tmp_path / "joined", QUICK)
        images = open_map(tmp_path / "joined").images
        cameras = {image.name.startswith("phone/"): image.camera for image in images}
        assert list(cameras[False].params) == list(robot.camera.params)
        assert cameras[True].params[0] == pytest.approx(525.0 * 480 / 640, rel=0.08)
        true = true_poses(kitchen)
        found = np.array([image.map_from_camera.translation for image in images])
        expected = np.array([true[image.name].translation for image in images])
        assert len(images) >= 7
        assert np.linalg.norm(umeyama(expected, found) @ found - expected, axis=1).max() < 0.08

    def test_one_trajectory_for_sources_of_the_same_time_is_refused(self, kitchen, robot, tmp_path):
        again = Part("again", kitchen, 0, kitchen.camera)
        with pytest.raises(ConfigError, match="'robot' and 'again' overlap"):
            build_map([robot, again], tmp_path / "new", QUICK, reference_poses=kitchen.ground_truth)
        assert list(tmp_path.iterdir()) == []

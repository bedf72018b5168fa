"""A camera is followed in a map while its images come, and estimated first where nobody knows it."""

import time
from dataclasses import replace
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from room_versions import unpacked_room, write_second_version

from visloc_ros.core.calibration import guess_calibration
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose, State
from visloc_ros.localization import AnchorEngine
from visloc_ros.pipeline.live_camera import LiveCamera
from visloc_ros.simulation import SimulationConfig, simulate

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"
TIMEOUT_S = 60.0
CAMERA = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=2.0, rate_hz=20.0, samples=1)
DRIVE = simulate(CAMERA, "localize")


@pytest.fixture(scope="module")
def engine():
    return AnchorEngine(open_map(DEMO_MAP))


@cache
def seen(index):
    """A frame of the drive, drawn once."""
    return DRIVE.frame(index)


def as_they_come():
    """The drive there and back, again and again, each image with its number in the drive."""
    order = (*range(len(DRIVE)), *reversed(range(1, len(DRIVE) - 1)))
    for count, index in enumerate(cycle(order)):
        yield index, replace(seen(index), stamp_ns=count * 50_000_000)


@pytest.mark.parametrize("is_known", [True, False])
def test_its_poses_are_true(engine, is_known):
    camera, searches, num_poses = LiveCamera(engine), [], 0
    guess = guess_calibration(DRIVE.camera.width, DRIVE.camera.height)
    deadline = time.monotonic() + TIMEOUT_S
    for index, frame in as_they_come():
        estimate = camera.process(frame if is_known else frame.with_calibration(guess))
        searches += camera.take_searches()
        if not camera.is_calibrated:
            assert estimate.map_from_camera is None
        if estimate.map_from_camera is not None:
            num_poses += 1
            assert estimate.map_from_camera.is_close(DRIVE.pose(index), 0.05, 1.0)
        if num_poses == 30:
            break
        assert time.monotonic() < deadline
    camera.close()
    assert camera.calibration.camera.mean_focal_length() == pytest.approx(DRIVE.camera.mean_focal_length(), rel=0.02)
    assert sum(isinstance(result, AnchorPose) for result in searches) >= (1 if is_known else 3)


class CountedSearch:
    """Searches by an engine, and counts what it finds."""

    def __init__(self, engine):
        self._engine, self.map_identity, self.found = engine, engine.map_identity, 0

    def localize(self, frame, prior=None):
        result = self._engine.localize(frame, prior)
        self.found += isinstance(result, AnchorPose)
        return result


def test_its_pose_goes_on_within_its_covariance_when_the_map_is_updated(engine, tmp_path):
    folder = unpacked_room(tmp_path / "room")
    write_second_version(folder)
    newer = AnchorEngine(open_map(folder), engine.config, engine.extractor, engine.matcher)
    old_search, new_search = CountedSearch(engine), CountedSearch(newer)
    camera, last, is_changed = LiveCamera(engine, old_search), None, False
    deadline = time.monotonic() + TIMEOUT_S
    for _, frame in as_they_come():
        estimate = camera.process(frame)
        if last is not None:
            assert estimate.state is State.LOCALIZED
            carried_on = last.map_from_odom @ estimate.odom_from_camera
            step = np.linalg.norm(estimate.map_from_camera.translation - carried_on.translation)
            assert step <= 3.0 * np.sqrt(np.linalg.eigvalsh(estimate.covariance[:3, :3]).max())
        last = estimate if estimate.state is State.LOCALIZED else None
        if old_search.found == 3 and not is_changed:
            is_changed = True
            camera.use(newer, new_search)
        if new_search.found == 3:
            break
        assert time.monotonic() < deadline
    camera.close()
    assert old_search.found in (3, 4)  # one may have run on while the map changed


MOVED_FROM_ROOM = SE3.from_rotation_vector([0.0, 0.0, 0.7], [3.0, -2.0, 0.5])


def test_its_pose_goes_on_in_the_new_frame_when_the_map_is_aligned(engine, tmp_path):
    folder = unpacked_room(tmp_path / "room")
    write_second_version(folder, MOVED_FROM_ROOM)
    aligned = AnchorEngine(open_map(folder), engine.config, engine.extractor, engine.matcher)
    camera, searches, frames = LiveCamera(engine), 0, as_they_come()
    while searches < 3:
        before = camera.process(next(frames)[1])
        searches += len(camera.take_searches())
    assert before.state is State.LOCALIZED
    camera.use(aligned)
    for _ in range(10):
        number, frame = next(frames)
        after = camera.process(frame)
        assert after.state is State.LOCALIZED
        error = np.linalg.norm(after.map_from_camera.translation - (MOVED_FROM_ROOM @ DRIVE.pose(number)).translation)
        assert error <= 3.0 * np.sqrt(np.linalg.eigvalsh(after.covariance[:3, :3]).max())
    camera.close()


def test_images_out_of_order_are_left_out_while_the_camera_is_estimated(engine):
    guess = guess_calibration(DRIVE.camera.width, DRIVE.camera.height)
    camera, frame = LiveCamera(engine), DRIVE.frame(0).with_calibration(guess)
    later = replace(frame, stamp_ns=frame.stamp_ns + 50_000_000)
    assert camera.process(later) is not None
    assert not camera.is_calibrated
    assert camera.process(frame) is None
    assert camera.process(later) is None
    assert len(camera.take_searches()) == 1
    camera.close()


def test_a_first_image_of_another_size_does_not_keep_the_others_out(engine):
    guess = guess_calibration(DRIVE.camera.width, DRIVE.camera.height)
    camera, frame = LiveCamera(engine), DRIVE.frame(0).with_calibration(guess)
    tiny = replace(frame, image=frame.image[:8, :8]).with_calibration(guess_calibration(8, 8))
    assert camera.process(tiny).map_from_camera is None
    camera.process(replace(frame, stamp_ns=frame.stamp_ns + 50_000_000))
    assert isinstance(camera.take_searches()[-1], AnchorPose)
    camera.close()


def test_an_image_of_another_size_is_refused_and_the_camera_goes_on(engine):
    camera, frame = LiveCamera(engine), DRIVE.frame(0)
    assert camera.process(frame) is not None
    with pytest.raises(CalibrationError):
        camera.process(replace(frame, image=frame.image[::2, ::2], stamp_ns=frame.stamp_ns + 1))
    assert camera.process(frame) is None  # its stamp is not later
    assert camera.process(replace(frame, stamp_ns=frame.stamp_ns + 50_000_000)) is not None
    camera.close()

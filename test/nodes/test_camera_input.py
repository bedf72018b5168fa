import pytest

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import guess_camera
from visloc_ros.nodes.camera_input import CalibrationChoice

SIZE = (320, 240)


def calibration(source, width=320, height=240):
    return CameraCalibration(guess_camera(width, height), source, 0.01)


GIVEN, RECORDED, FOUND, FROM_MAP = (
    calibration(source)
    for source in (
        CalibrationSource.GIVEN,
        CalibrationSource.RECORDED,
        CalibrationSource.ESTIMATED,
        CalibrationSource.MAP,
    )
)


def test_a_guess_stays_the_same_as_long_as_the_size_does():
    choice = CalibrationChoice()
    guess = choice.of_images(*SIZE)
    assert guess.source is CalibrationSource.GUESSED
    assert choice.of_images(*SIZE) is guess
    assert choice.of_images(640, 480).camera.width == 640


@pytest.mark.parametrize("is_found_first", [True, False])
def test_the_cameras_own_calibration_goes_before_one_that_was_found(is_found_first):
    choice = CalibrationChoice()
    if is_found_first:
        choice.add_estimate(FOUND)
    choice.set_own(RECORDED)
    if not is_found_first:
        choice.add_estimate(FOUND)
    assert choice.of_images(*SIZE) is RECORDED


def test_a_calibration_that_was_given_goes_before_all():
    choice = CalibrationChoice(GIVEN)
    choice.set_own(RECORDED)
    choice.add_estimate(FOUND)
    assert choice.of_images(*SIZE) is GIVEN


def test_a_search_that_ends_late_does_not_bring_back_what_the_camera_told_before():
    choice = CalibrationChoice()
    earlier, later = calibration(CalibrationSource.RECORDED), calibration(CalibrationSource.RECORDED)
    choice.set_own(earlier)
    choice.set_own(later)
    choice.add_estimate(earlier)
    assert choice.of_images(*SIZE) is later


def test_what_is_found_later_replaces_what_was_found_before():
    choice = CalibrationChoice()
    choice.add_estimate(FROM_MAP)
    choice.add_estimate(FOUND)
    assert choice.of_images(*SIZE) is FOUND


def test_what_was_found_of_one_size_says_nothing_about_another():
    """A camera's own calibration is used all the same: that it does not fit is its driver's mistake, to be told."""
    choice = CalibrationChoice()
    choice.add_estimate(FOUND)
    assert choice.of_images(640, 480).source is CalibrationSource.GUESSED
    choice.set_own(RECORDED)
    assert choice.of_images(640, 480) is RECORDED

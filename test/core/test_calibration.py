import json

import pycolmap
import pytest

from visloc_ros.core.advice import ADVICE, advise, count_reasons
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, guess_calibration
from visloc_ros.core.types import Reason

CAMERA = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[512.25, 320, 240, -0.04])


@pytest.mark.parametrize("source", CalibrationSource)
def test_only_what_was_not_measured_is_provisional(source):
    provisional = source in (CalibrationSource.NAME, CalibrationSource.EXIF, CalibrationSource.GUESSED)
    assert CameraCalibration(CAMERA, source).is_provisional == provisional


def test_it_says_in_words_and_in_json_what_it_is():
    calibration = CameraCalibration(CAMERA, CalibrationSource.MAP, 0.01)
    assert str(calibration) == "focal length 512.2 px to 1 %, the map's camera, confirmed by frames found"
    values = json.loads(json.dumps(calibration.to_mapping()))
    assert (values["source"], values["focal_sigma"], values["focal_length_px"]) == ("map", 0.01, 512.25)
    assert (values["model"], values["params"]) == ("SIMPLE_RADIAL", [512.25, 320.0, 240.0, -0.04])
    assert str(CameraCalibration(CAMERA, CalibrationSource.GIVEN)) == "focal length 512.2 px, as given"


def test_a_guess_knows_that_it_is_one():
    guess = guess_calibration(480, 640)
    assert (guess.source, guess.camera.width, guess.camera.height) == (CalibrationSource.GUESSED, 480, 640)
    assert guess.camera.mean_focal_length() == pytest.approx(768.0)
    assert guess.focal_sigma > 0.3


def test_every_reason_has_its_advice():
    assert set(ADVICE) == set(Reason)
    assert all("--camera" in ADVICE[reason] for reason in (Reason.INTRINSICS_MISMATCH, Reason.UNKNOWN_INTRINSICS))


def test_the_most_frequent_reason_comes_first():
    counts = count_reasons([Reason.BLURRED, None, Reason.FEW_MATCHES, Reason.BLURRED])
    lines = advise(counts)
    assert [line.partition(":")[0] for line in lines] == ["2 x BLURRED", "1 x FEW_MATCHES"]
    assert lines[0].endswith(ADVICE[Reason.BLURRED])
    assert advise({}) == []

"""How far frames that are found make a given focal length doubtful."""

import math

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import with_focal_length
from visloc_ros.core.geometry import SE3
from visloc_ros.localization.calibration_doubt import CalibrationDoubt
from visloc_ros.localization.camera_estimation import CameraView

GIVEN = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])


def view(log_focal):
    """A frame that shows a focal length to 1 %, beside the map's own 1 %."""
    camera = with_focal_length(GIVEN, 500.0 * math.exp(log_focal))
    return CameraView(SE3.identity(), camera, np.zeros((0, 2)), np.zeros((0, 3)), np.diag([1e4, 1e4]))


@pytest.mark.parametrize(("off", "least"), [(0.0, 0.0), (0.01, 0.0), (0.02, 0.014), (0.027, 0.022), (0.05, 0.05)])
def test_a_focal_length_is_as_doubtful_as_its_uncertainty_does_not_explain(off, least):
    """2 and 2.7 % are less than two standard deviations, and yet more than these explain."""
    doubt = CalibrationDoubt(CameraCalibration(GIVEN, CalibrationSource.GIVEN))
    doubt.add((0, "a"), view(off))
    assert least <= doubt.focal_sigma
    assert doubt.focal_sigma <= math.hypot(off, 0.015)
    assert doubt.is_contradicted == (off > 0.03)

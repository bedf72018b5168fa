"""The readout of a rolling shutter, measured from images whose own is known."""

import numpy as np
import pytest

from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import CameraPath, Wave
from visloc_ros.tracking.readout import ReadoutMeter

RATE_HZ = 20.0
SHAKY = CameraPath(
    x=Wave(3.0, ((0.3, 3.0, 0.0),)),
    y=Wave(2.0, ((0.2, 2.3, 1.0),)),
    z=Wave(1.4, ((0.05, 1.1, 0.0),)),
    yaw=Wave(1.6, ((0.25, 3.1, 0.0), (0.06, 0.83, 0.5))),
    pitch=Wave(-0.1, ((0.10, 2.3, 1.0), (0.05, 0.61, 0.0))),
    roll=Wave(0.0, ((0.04, 1.3, 0.0),)),
)


def measure(images, rate_hz=RATE_HZ):
    meter = ReadoutMeter()
    for index, image in enumerate(images):
        meter.add(round(index * 1e9 / rate_hz), image)
    return meter.readout


@pytest.mark.parametrize("readout_ms", [0.0, 20.0])
def test_the_readout_of_a_simulated_camera_is_found(readout_ms):
    config = SimulationConfig(
        width=240, height=180, focal_px=180, rate_hz=RATE_HZ, duration_s=4.0, samples=1, exposure_ms=0.0,
        readout_ms=readout_ms,
    )  # fmt: skip
    images = [frame.grey for frame in simulate(config, path=SHAKY)]
    readout = measure(images)
    assert readout.sigma_s < 0.002
    assert readout.seconds == pytest.approx(1e-3 * readout_ms, abs=0.003)
    assert 0.1 < readout.motion < 2.0
    other_way = measure([np.ascontiguousarray(np.rot90(image, 2)) for image in images])
    assert other_way.seconds == pytest.approx(-readout.seconds, abs=0.003)


def test_nothing_is_estimated_where_nothing_is_seen_to_move():
    assert measure([np.zeros((48, 64), np.uint8)] * 40) is None
    assert measure([np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)] * 3) is None
    still = [np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)] * 40
    readout = measure(still)
    assert readout is None or readout.sigma_s > 0.0

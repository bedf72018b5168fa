"""The compiled libraries that the core brings together get along in one process."""

import signal
import subprocess
import sys

import pytest

WRITE_PNG = """
import {module}
import cv2, numpy as np
rng = np.random.default_rng(0)
for height in range(300, 340):
    smooth = cv2.resize(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8), (640, height))
    assert len(cv2.imencode(".png", smooth)[1]) > 0
"""


@pytest.mark.parametrize("module", ["visloc_ros.core.camera", "visloc_ros.simulation", "visloc_ros.sources"])
def test_opencv_writes_png_beside_pycolmap(module):
    # Without OpenCV being loaded first this process dies from memory that two builds of zlib mix up.
    finished = subprocess.run(
        [sys.executable, "-c", WRITE_PNG.replace("{module}", module)], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("module", ["visloc_ros.core.map", "visloc_ros.localization", "visloc_ros.sources"])
def test_a_program_that_is_ended_prints_no_trace(module):
    code = f"import {module}, os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (finished.returncode, finished.stderr) == (-signal.SIGTERM, "")

"""Files that were changed at random: a command says in one line what is wrong with them, or takes them."""

import os
import time

import cv2
import numpy as np
import pycolmap
import pytest
import yaml
from commands import visloc
from hypothesis import given
from hypothesis import strategies as st
from mutations import NASTY, damaged, spoiled
from search_length import SEARCH

from visloc_ros.core.types import Frame
from visloc_ros.simulation import SimulationConfig
from visloc_ros.sources.bag_writer import write_bag

MOST_S = 60.0
CAMERA = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50.0, 50.0, 32.0, 24.0])
CALIBRATIONS = (
    "model: OPENCV\nwidth: 64\nheight: 48\nparams: [50, 50, 32, 24, 0.1, 0, 0, 0]\n",
    "resolution: [64, 48]\ncamera_model: pinhole\nintrinsics: [50, 50, 31.5, 23.5]\n"
    "distortion_model: radial-tangential\ndistortion_coefficients: [0.1, 0, 0, 0]\n",
    "image_width: 64\nimage_height: 48\ndistortion_model: plumb_bob\n"
    "camera_matrix: {rows: 3, cols: 3, data: [50, 0, 31.5, 0, 50, 23.5, 0, 0, 1]}\n"
    "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n",
)
TRAJECTORY = "".join(f"{n}.5 {0.1 * n} {0.01 * n * n} 0 0 0 0 1\n" for n in range(20))


def picture(seed):
    """Spots on grey, which corners are found in."""
    rng = np.random.default_rng(seed)
    image = np.full((48, 64, 3), 90, np.uint8)
    for _ in range(40):
        cv2.circle(
            image, rng.integers((64, 48)).tolist(), int(rng.integers(1, 5)), rng.integers(0, 255, 3).tolist(), -1
        )
    return image


PICTURES = [picture(seed) for seed in range(3)]


def write_images(folder, suffix=".png"):
    frames = folder / "frames"
    frames.mkdir()
    for index, image in enumerate(PICTURES):
        cv2.imwrite(str(frames / f"{index}{suffix}"), image)
    return frames


def image_file(folder, rng):
    suffix = (".png", ".jpg")[int(rng.integers(2))]
    frames = write_images(folder, suffix)
    changed = frames / f"{rng.integers(3)}{suffix}"
    changed.write_bytes(damaged(changed.read_bytes(), rng))
    return "track", frames


def video_file(folder, rng):
    suffix, code = ((".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v"))[int(rng.integers(3))]
    path = folder / f"film{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10.0, (64, 48))
    for image in PICTURES * 3:
        writer.write(image)
    writer.release()
    path.write_bytes(damaged(path.read_bytes(), rng))
    return "track", path


def bag_file(folder, rng):
    storage = ("mcap", "sqlite3")[int(rng.integers(2))]
    frames = [Frame(10**9 + index * 10**8, image, CAMERA) for index, image in enumerate(PICTURES)]
    write_bag(frames, folder / "bag", storage=storage)
    files = sorted((folder / "bag").iterdir())
    changed = files[int(rng.integers(len(files)))]
    changed.write_bytes(damaged(changed.read_bytes(), rng))
    return "track", folder / "bag" if rng.random() < 0.8 else changed


def calibration_file(folder, rng):
    (folder / "camera.yaml").write_bytes(spoiled(CALIBRATIONS[int(rng.integers(len(CALIBRATIONS)))], rng))
    return "track", write_images(folder), "--camera", folder / "camera.yaml"


def config_file(folder, rng):
    path = folder / "config.yaml"
    if rng.random() < 0.5:
        text = "backend: klt\nklt:\n  max_pixels: 100000\n  window: 10\nimu:\n  enabled: false\n"
        path.write_bytes(spoiled(text, rng))
        return "track", write_images(folder), "--config", path
    path.write_bytes(spoiled(yaml.safe_dump(SimulationConfig().to_mapping() | {"rate_hz": 0.01}), rng))
    return "simulate", folder / "taken" / "x", "--config", path


def trajectory_file(folder, rng):
    (folder / "truth.tum").write_text(TRAJECTORY)
    (folder / "path.tum").write_bytes(spoiled(TRAJECTORY, rng))
    return (
        "evaluate",
        folder / "path.tum",
        folder / "truth.tum",
        "--align",
        ("none", "se3", "sim3")[int(rng.integers(3))],
    )


OPTIONS = {
    "track": (
        "--fps",
        "--first",
        "--last",
        "--every",
        "--camera",
        "--backend",
        "--output",
        "--config",
        "--image-topic",
    ),
    "evaluate": ("--align", "--n-to-align", "--delta", "--delta-unit", "--tolerance-s", "--covariances"),
    "build-map": ("--fps", "--first", "--every", "--reference-poses", "--config", "--output"),
    "import-hloc": ("--extractor", "--output"),
    "export-hloc": ("--output", "--queries", "--top-k"),
    "localize": ("--fps", "--camera", "--ground-truth", "--config", "--output"),
    "run": ("--output", "--ground-truth", "--from-recording", "--imu-topic"),
    "replay": ("--output", "--rate", "--domain-id", "--params-file"),
    "fetch-weights": ("--into",),
}


def command_line(folder, rng):
    """Any command with any words."""
    os.chdir(folder)
    command = list(OPTIONS)[int(rng.integers(len(OPTIONS)))]
    words = []
    for _ in range(rng.integers(0, 4)):
        words.append(NASTY[int(rng.integers(len(NASTY)))])
    for _ in range(rng.integers(0, 4)):
        words += [OPTIONS[command][int(rng.integers(len(OPTIONS[command])))], NASTY[int(rng.integers(len(NASTY)))]]
    return command, *(word.replace("\0", "") for word in words if word != "/dev/zero")


KINDS = (image_file, video_file, bag_file, calibration_file, config_file, trajectory_file, command_line)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_changed_file_is_taken_or_refused_in_one_line(tmp_path_factory, monkeypatch, make):
    monkeypatch.chdir(tmp_path_factory.getbasetemp())  # put back in the end

    @SEARCH
    @given(st.integers(0, 2**32 - 1))
    def search(seed):
        folder = tmp_path_factory.mktemp("changed")
        begin_s = time.monotonic()
        visloc(*make(folder, np.random.default_rng(seed))).assert_in_words()
        assert time.monotonic() - begin_s < MOST_S

    search()

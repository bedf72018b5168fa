import subprocess
import sys

import numpy as np
import pycolmap
import pytest
import torch

from visloc_ros.core.config import list_options
from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.types import Frame, Reason
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.odometry.dpvo import DpvoConfig
from visloc_ros.odometry.dpvo.network import PatchNetwork


@pytest.mark.parametrize(
    ("preset", "patches", "removal", "optimization", "lifetime"),
    [("default", 96, 22, 10, 13), ("fast", 48, 16, 7, 11), ("cpu", 16, 10, 7, 7)],
)
def test_presets_have_the_published_values(preset, patches, removal, optimization, lifetime):
    config = DpvoConfig(preset=preset).resolved()
    windows = config.removal_window, config.optimization_window, config.patch_lifetime
    assert (config.patches_per_frame, *windows) == (patches, removal, optimization, lifetime)
    assert (config.buffer_size, config.keyframe_index, config.motion_damping) == (4096, 4, 0.5)


def test_the_keyframe_threshold_is_the_published_one_where_images_are():
    thresholds = {preset: DpvoConfig(preset=preset).resolved().keyframe_thresh for preset in ("default", "fast", "cpu")}
    assert thresholds == {"default": 15.0, "fast": 15.0, "cpu": 7.5}
    assert DpvoConfig(keyframe_thresh=-1.0).resolved().keyframe_thresh == -1.0


def test_the_default_ring_is_the_published_one():
    assert DpvoConfig().ring_frames == 36


def test_single_values_change_a_preset():
    config = DpvoConfig(preset="fast", patches_per_frame=64, max_width=512).resolved()
    assert (config.patches_per_frame, config.max_width, config.removal_window) == (64, 512, 16)
    assert config.resolved() == config


def test_only_the_cpu_preset_reduces_images():
    widths = {preset: DpvoConfig(preset=preset).resolved().max_width for preset in ("default", "fast", "cpu")}
    assert widths["cpu"] == 320
    assert min(widths["default"], widths["fast"]) >= 10_000


@pytest.mark.parametrize(
    "windows", [{"removal_window": 14}, {"patch_lifetime": 21}, {"keyframe_index": 6, "patch_lifetime": 19}]
)
def test_a_removal_window_too_short_for_the_lifetime_is_refused(windows):
    with pytest.raises(ConfigError, match=r"removal_window = .* must be at least patch_lifetime"):
        DpvoConfig(**windows)


def test_the_shortest_possible_removal_window_is_accepted():
    assert DpvoConfig(removal_window=15).resolved().removal_window == 15


def test_a_buffer_that_cannot_be_halved_is_refused():
    with pytest.raises(ConfigError, match="buffer_size = 64 must be at least twice"):
        DpvoConfig(buffer_size=64)


@pytest.mark.parametrize("wrong", [{"preset": "slow"}, {"patches_per_frame": -1}, {"motion_damping": 1.5}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        DpvoConfig(**wrong)


def test_every_option_is_a_parameter():
    names = {item.name for item in list_options(OdometryConfig)}
    assert {"dpvo.preset", "dpvo.patches_per_frame", "dpvo.buffer_size", "dpvo.keyframe_thresh"} <= names


def test_missing_weights_name_the_command_that_fetches_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="visloc fetch-weights dpvo"):
        make_odometry(OdometryConfig(backend="dpvo"))


def test_the_odometry_is_made_by_its_name_with_weights_of_a_file(tmp_path):
    torch.manual_seed(0)
    torch.save(PatchNetwork().state_dict(), tmp_path / "random.pth")
    options = {"preset": "cpu", "device": "cpu", "weights": str(tmp_path / "random.pth")}
    odometry = make_odometry(OdometryConfig.from_mapping({"backend": "dpvo", "dpvo": options}))
    camera = pycolmap.Camera(model="PINHOLE", width=96, height=64, params=[80.0, 80.0, 48.0, 32.0])
    image = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    first = odometry.track(Frame(0, image, camera))
    odometry.close()
    assert (first.reason, first.counts["frames"]) == (Reason.DEGENERATE_MOTION, 1)


def test_options_are_known_without_torch():
    script = "import sys, visloc_ros.odometry as o; o.OdometryConfig(backend='dpvo'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

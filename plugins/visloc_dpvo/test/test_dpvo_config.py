import subprocess
import sys

import numpy as np
import pycolmap
import pytest
import torch

from visloc_dpvo import DpvoConfig
from visloc_dpvo.network import PatchNetwork
from visloc_ros.core.config import list_options
from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.types import Frame, Reason
from visloc_ros.odometry import OdometryConfig, make_odometry


@pytest.mark.parametrize(
    ("preset", "patches", "removal", "optimization", "lifetime", "keyframe_thresh"),
    [("default", 96, 22, 10, 13, 15.0), ("fast", 48, 16, 7, 11, 15.0), ("cpu", 16, 10, 7, 7, 7.5)],
)
def test_presets_have_the_published_values(preset, patches, removal, optimization, lifetime, keyframe_thresh):
    """The keyframe threshold is that of images of full width, which the preset for a CPU alone halves."""
    config = DpvoConfig(preset=preset).resolved()
    windows = config.removal_window, config.optimization_window, config.patch_lifetime
    assert (config.patches_per_frame, *windows) == (patches, removal, optimization, lifetime)
    assert (config.buffer_size, config.keyframe_index, config.motion_damping) == (4096, 4, 0.5)
    assert config.keyframe_thresh == keyframe_thresh
    assert config.max_width == 320 if preset == "cpu" else config.max_width >= 10_000
    assert preset != "default" or config.ring_frames == 36


def test_single_values_change_a_preset():
    values = {"patches_per_frame": 64, "max_width": 512, "keyframe_thresh": -1.0}
    config = DpvoConfig(preset="fast", **values).resolved()
    assert {name: getattr(config, name) for name in values} == values
    assert config.removal_window == 16
    assert config.resolved() == config


TOO_SHORT = r"removal_window = .* must be at least patch_lifetime"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"removal_window": 14}, TOO_SHORT),
        ({"patch_lifetime": 21}, TOO_SHORT),
        ({"keyframe_index": 6, "patch_lifetime": 19}, TOO_SHORT),
        ({"buffer_size": 64}, "buffer_size = 64 must be at least twice"),
        ({"preset": "slow"}, "preset"),
        ({"patches_per_frame": -1}, "patches_per_frame"),
        ({"motion_damping": 1.5}, "motion_damping"),
    ],
)
def test_options_that_cannot_work_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        DpvoConfig(**options)
    assert DpvoConfig(removal_window=15).resolved().removal_window == 15  # the shortest possible one


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

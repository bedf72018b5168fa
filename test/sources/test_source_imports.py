import subprocess
import sys
from pathlib import Path

import pytest
from source_data import raw_bag

import visloc_ros
from visloc_ros.core.errors import SetupError
from visloc_ros.sources import open_source


def test_a_robot_without_rosbags_can_still_decode_images():
    """The nodes import these modules; only bags need rosbags, nothing here needs torch or rclpy."""
    code = (
        "import sys, visloc_ros.sources, visloc_ros.sources.ros_images, visloc_ros.sources.calibration\n"
        "print([name for name in ('rosbags', 'torch', 'rclpy') if name in sys.modules])"
    )
    root = Path(visloc_ros.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"


def test_opening_a_bag_without_rosbags_says_what_to_install(tmp_path, monkeypatch):
    bag = raw_bag(tmp_path / "bag", [1000])
    for name in [name for name in sys.modules if name.startswith(("rosbags", "visloc_ros.sources.bag"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rosbags", None)
    with pytest.raises(SetupError, match="pip install rosbags"):
        open_source(bag)

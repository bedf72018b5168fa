"""``visloc doctor`` as users call it: findings with remedies, and an exit code for scripts."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.errors import SetupError
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import unpacked

DEMO_MAP = Path(__file__).parents[2] / "maps" / "demo_room.tar.gz"


def examine(*arguments: object) -> tuple[int, list[dict[str, str]]]:
    result = CliRunner().invoke(app, ["doctor", "--json", *map(str, arguments)])
    return result.exit_code, json.loads(result.output)


def of(findings: list[dict[str, str]], subject: str) -> list[dict[str, str]]:
    return [one for one in findings if one["subject"] == subject]


def test_a_map_that_is_whole_is_well():
    code, findings = examine("--map", DEMO_MAP)
    (found,) = of(findings, "map")
    assert (found["level"], f"{len(open_map(DEMO_MAP).images)} images" in found["text"]) == ("ok", True)
    assert code == (0 if find_spec("rclpy") else 1)


def test_a_map_that_is_broken_is_an_error_with_the_remedy(tmp_path):
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(DEMO_MAP.read_bytes()[:100_000])
    code, findings = examine("--map", broken)
    (found,) = of(findings, "map")
    assert (code, found["level"]) == (1, "error")
    assert "copy it again" in found["text"]


def test_a_map_that_is_weak_is_told_so(tmp_path):
    folder = tmp_path / "weak"
    with unpacked(DEMO_MAP) as room:
        shutil.copytree(room, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"metric": False, "gravity_aligned": False, "reprojection_error_px": 3.2}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _, findings = examine("--map", folder)
    words = " ".join(one["text"] for one in of(findings, "map") if one["level"] == "warning")
    assert all(part in words for part in ("not metric", "which way is up", "3.2 px off"))


def test_nobody_at_the_topic_is_an_error(ros_domain):
    pytest.importorskip("rclpy")
    code, findings = examine("--image-topic", "/camera/image_raw/compressed", "--seconds", 4)
    (found,) = of(findings, "camera")
    assert (code, found["level"]) == (1, "error")
    assert "nobody publishes /camera/image_raw/compressed" in found["text"]


def test_words_are_for_people():
    result = CliRunner().invoke(app, ["doctor", "--map", str(DEMO_MAP)])
    assert "ok       map: 'demo_room': " in result.output


def test_what_is_no_topic_is_refused_in_words(ros_domain):
    pytest.importorskip("rclpy")
    result = CliRunner().invoke(app, ["doctor", "--image-topic", "no topic"])
    assert isinstance(result.exception, SetupError)
    assert "cannot listen to no topic" in str(result.exception)

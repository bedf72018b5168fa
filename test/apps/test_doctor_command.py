"""``visloc doctor`` as users call it: findings with remedies, and an exit code for scripts."""

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pycolmap
import pytest
from phone_videos import set_durations, sign, write_video
from source_data import colour_image, write_images
from visloc_command import DEMO_MAP, visloc

from visloc_ros.apps import command_doctor, examine_source
from visloc_ros.core.errors import SetupError
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.sources.camera_files import write_camera_yaml


def examine(*arguments: object) -> tuple[int, list[dict[str, str]]]:
    result = visloc("doctor", "--json", *arguments)
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
    assert "no node publishes /camera/image_raw/compressed" in found["text"]


def test_a_line_of_the_middleware_is_no_finding(monkeypatch):
    pytest.importorskip("rclpy")
    finding = {"level": "ok", "subject": "nodes", "text": "none"}
    printed = f"[RTPS_TRANSPORT_SHM Warning] the port is taken\n{json.dumps([finding])}\n"
    ended = subprocess.CompletedProcess([], 0, printed, "")
    monkeypatch.setattr(command_doctor.subprocess, "run", lambda *_, **__: ended)
    assert of(examine("--image-topic", "/image")[1], "nodes") == [finding]


@pytest.mark.parametrize(("load", "words"), [(1.7, "keep 1.7 of 2 cores busy"), (9.1, "9.1 programs share the 2")])
def test_a_busy_computer_is_told_so(monkeypatch, load, words):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert any(words in one["text"] for one in of(examine()[1], "computer") if one["level"] == "warning")


def test_words_are_for_people():
    result = visloc("doctor", "--map", DEMO_MAP)
    assert "ok       map: 'demo_room': " in result.output


def test_what_is_no_topic_is_refused_in_words(ros_domain):
    pytest.importorskip("rclpy")
    result = visloc("doctor", "--image-topic", "no topic")
    assert isinstance(result.exception, SetupError)
    assert "cannot listen to no topic" in str(result.exception)


def test_a_video_of_a_phone_is_looked_at(tmp_path):
    write_video(tmp_path / "a.mp4", [colour_image(seed % 2) for seed in range(20)], rate_hz=25.0, turns=1)
    sign(tmp_path / "a.mp4", {"com.apple.quicktime.make": "Apple"})
    _, findings = examine("--source", tmp_path / "a.mp4")
    what, rate = of(findings, "recording")
    assert what["text"] == "20 images of 64x48 pixels, stored a quarter turn off and shown upright"
    assert (rate["level"], rate["text"]) == ("ok", "25 images a second, at a constant rate")
    (camera,) = of(findings, "camera")
    assert (camera["level"], "guessed from the image size" in camera["text"]) == ("warning", True)
    assert "--camera FILE" in camera["text"]
    (shutter,) = of(findings, "shutter")
    assert (shutter["level"], "recorded by a phone (Apple)" in shutter["text"]) == ("warning", True)


def test_uneven_times_and_missing_images_are_reported(tmp_path):
    write_video(tmp_path / "a.mp4", [colour_image(0)] * 20)
    set_durations(tmp_path / "a.mp4", [30, 45] * 9 + [500, 30])
    write_camera_yaml(
        tmp_path / "known.yaml", pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[60, 60, 32, 24])
    )
    _, findings = examine("--source", tmp_path / "a.mp4", "--camera", tmp_path / "known.yaml")
    _, rate, gaps = of(findings, "recording")
    assert "30 to 500 ms apart" in rate["text"]
    assert (gaps["level"], gaps["text"].startswith("1 gap where images are missing, up to 0.5 s")) == ("warning", True)
    (camera,) = of(findings, "camera")
    assert (camera["level"], camera["text"]) == ("ok", "focal length 60.0 px, as given")


@pytest.mark.parametrize(
    ("step", "level", "words"), [(200_000, "warning", "5 images a second"), (2_000_000, "error", "")]
)
def test_whole_numbers_in_names_give_a_rate_that_a_camera_has_or_an_error(tmp_path, step, level, words):
    write_images(tmp_path / "images", [f"{step * at}.png" for at in range(20)])
    _, findings = examine("--source", tmp_path / "images")
    found = of(findings, "recording")
    assert words in found[1]["text"]
    assert found[2]["level"] == level
    assert ("no camera takes so many" in found[2]["text"]) == (level == "error")


def test_a_slow_rate_is_reported(tmp_path):
    write_video(tmp_path / "a.mp4", [colour_image(0)] * 20, rate_hz=5.0)
    _, findings = examine("--source", tmp_path / "a.mp4")
    assert "record 20 to 30" in of(findings, "recording")[-1]["text"]


def test_a_photo_is_looked_at():
    _, findings = examine("--source", Path(__file__).parents[1] / "data" / "phone_portrait.heic")
    (what,) = of(findings, "recording")
    assert what["text"] == "an image of 192x256 pixels"
    assert "EXIF" in of(findings, "camera")[0]["text"]
    assert "Apple iPhone 13" in of(findings, "shutter")[0]["text"]


def test_what_is_no_recording_is_an_error(tmp_path):
    code, findings = examine("--source", tmp_path / "gone.mp4")
    (found,) = of(findings, "recording")
    assert (code, found["level"]) == (1, "error")
    assert "there is no video" in found["text"]


@pytest.mark.parametrize(
    ("name", "shutter", "blur"),
    [
        ("tum_fr1_rpy_start", "warning: rows are read one after the other", "warning"),
        ("euroc_mh05", "ok: all rows are exposed together", "ok"),
        ("7scenes_redkitchen", "ok: rows are read one after the other", "ok"),
    ],
)
def test_shutter_and_blur_of_real_cameras(shared_data, monkeypatch, name, shutter, blur):
    """A hand-held camera turned fast, a global shutter, and a hand-held camera that moves slowly."""
    if not (shared_data / name).is_dir():
        pytest.skip(f"the real data '{name}' are not on this machine")
    monkeypatch.setattr(examine_source, "MOST_FRAMES", 200)
    _, findings = examine("--source", shared_data / name)
    (found,) = of(findings, "shutter")
    assert f"{found['level']}: {found['text']}".startswith(shutter)
    assert of(findings, "blur")[0]["level"] == blur

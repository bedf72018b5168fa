"""``visloc view`` over real sockets, and in a real browser where there is one."""

import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import contextmanager

import cv2
import httpx
import numpy as np
import pytest
import trimesh
from visloc_command import DEMO_MAP, PROGRAM, succeed, visloc

from visloc_ros.core.errors import SourceError, VislocError
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import write_tum
from visloc_ros.simulation import SimulationConfig, simulate

TIMEOUT_S = 60.0
DRIVE = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=3.0, rate_hz=10.0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def viewing(*arguments):
    """A viewer as its own process; gives its address, and sees it end in peace."""
    port = free_port()
    command = [*PROGRAM, "view", str(DEMO_MAP), "--port", str(port)]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    try:
        assert process.stdout is not None
        while "in a browser" not in (line := process.stdout.readline()):
            assert line, lines
            lines.append(line)
        yield f"http://127.0.0.1:{port}", "".join(lines)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, "Traceback" in output) == (0, False), output
    finally:
        process.kill()


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """A drive along the map's own images, 10 a second, with its truth, 3 cm beside it."""
    folder, place = tmp_path_factory.mktemp("drive"), open_map(DEMO_MAP)
    poses = [image.map_from_camera for image in place.images]
    stamps_ns = np.arange(len(poses), dtype=np.int64) * 100_000_000
    write_tum(folder / "estimate.tum", stamps_ns, poses)
    beside = [type(pose)(pose.rotation, pose.translation + np.array([0.0, 0.0, 0.03])) for pose in poses]
    write_tum(folder / "truth.tum", stamps_ns, beside)
    return folder


def test_the_page_is_there_and_a_mesh_is_aligned(drive):
    place = open_map(DEMO_MAP)
    mesh = drive / "scan.ply"
    trimesh.PointCloud(3.0 * place.points + [5.0, 0.0, 0.0]).export(mesh)
    options = ("--trajectory", drive / "estimate.tum", "--ground-truth", drive / "truth.tum", "--mesh", mesh)
    with viewing(*options) as (address, words):
        answer = httpx.get(address, trust_env=False)
        assert answer.status_code == 200
        assert "<html" in answer.text
        assert f"{len(place.points)} points and {len(place.images)} of {len(place.images)} images" in words
        assert "one unit of the map is 3 of the mesh" in words


@pytest.mark.parametrize(
    ("option", "word"),
    [("--trajectory", "it is missing"), ("--mesh", "no mesh at"), ("--images", "give the trajectory")],
)
def test_a_file_that_is_not_there_is_named(tmp_path, option, word):
    refused = visloc("view", DEMO_MAP, option, tmp_path / "missing")
    assert isinstance(refused.exception, VislocError)
    assert word in str(refused.exception)


def test_a_camera_of_which_nothing_comes_ends_the_page_that_is_there(tmp_path):
    ended = visloc("view", DEMO_MAP, "--live", tmp_path / "missing", "--port", free_port())
    assert isinstance(ended.exception, SourceError)
    assert "no image comes" in str(ended.exception)


def wait_for(browser, condition, what):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition(browser.find_element("tag name", "body").text):
        assert time.monotonic() < deadline, (what, browser.find_element("tag name", "body").text)
        time.sleep(0.2)


def click(browser, text):
    element = browser.find_elements("xpath", f"//*[text()='{text}']")[-1]
    browser.execute_script("arguments[0].click()", element)


def frame_of(text):
    return int(text.split("Frame ")[1].split(" of ")[0])


def test_a_drive_is_played_and_paused_in_a_browser(drive, open_browser):
    browser = open_browser()
    options = ("--trajectory", drive / "estimate.tum", "--ground-truth", drive / "truth.tum")
    with viewing(*options) as (address, _):
        browser.get(address)
        wait_for(browser, lambda text: "Frame 1 of" in text and "error 0.030 m" in text, "first frame")
        click(browser, "Play")
        wait_for(browser, lambda text: "Pause" in text and frame_of(text) > 3, "frames that go on")
        click(browser, "Pause")
        wait_for(browser, lambda text: "Play" in text, "pause")
        text = browser.find_element("tag name", "body").text
        time.sleep(1.0)  # ten frames
        assert frame_of(browser.find_element("tag name", "body").text) == frame_of(text)
        browser.quit()


def test_a_live_camera_is_shown_where_it_is(tmp_path, open_browser):
    browser, room = open_browser(), simulate(DRIVE, "localize")
    video = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (room.camera.width, room.camera.height))
    images = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR) for frame in room]
    for image in 15 * (images + images[::-1]):  # longer than a slow computer needs
        writer.write(image)
    writer.release()
    with viewing("--live", video) as (address, _):
        browser.get(address)
        wait_for(browser, lambda text: "LOCALIZED" in text and "last search: found" in text, "pose")
        wait_for(browser, lambda text: "camera: focal length 24" in text, "calibration")
        browser.quit()


def test_a_recording_for_rerun_holds_map_and_drive(drive, tmp_path):
    chunks = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed, or too old to be read")
    place = open_map(DEMO_MAP)
    options = (
        "--trajectory",
        drive / "estimate.tum",
        "--ground-truth",
        drive / "truth.tum",
        "--rerun",
        tmp_path / "a.rrd",
    )
    succeed("view", DEMO_MAP, *options)
    rows = Counter()
    for chunk in chunks.RrdReader(str(tmp_path / "a.rrd")).stream().to_chunks():
        rows[chunk.entity_path] += chunk.num_rows
    assert rows["/error"] == len(place.images)
    assert rows["/map/camera"] >= len(place.images)
    assert {"/map/points", "/map/way"} <= set(rows)
    assert sum(name.startswith("/map/images/") for name in rows) == len(place.images)
    assert [path.name for path in tmp_path.iterdir()] == ["a.rrd"]


def test_what_the_nodes_send_is_shown_without_a_map_at_hand(ros_domain):
    pytest.importorskip("rclpy")
    port = free_port()
    command = [*PROGRAM, "view", "--live", "nodes", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not is_there(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, "Traceback" in output) == (0, False), output
    finally:
        process.kill()


def is_there(address):
    try:
        return httpx.get(address, trust_env=False).is_success
    except httpx.TransportError:
        return False

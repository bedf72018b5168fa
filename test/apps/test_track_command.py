"""``visloc track``: the figures in its file, the scale that wheels give, and what it says of bad input."""

import json
import re
import shutil
from itertools import islice

import cv2
import numpy as np
import pytest
from visloc_command import succeed, visloc

from visloc_ros.apps.command_track import write_segments
from visloc_ros.core.errors import CalibrationError, ConfigError, OutputError, SourceError
from visloc_ros.core.geometry import SE3, rotation_vector, umeyama
from visloc_ros.core.trajectory import NANOSECONDS, write_tum
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.core.types import OdometryPose
from visloc_ros.evaluation.decoding import decode
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources import open_source
from visloc_ros.sources.bag_writer import BagWriter
from visloc_ros.sources.ros_images import encode_jpeg

NUM_FRAMES = 45
# The IMU is mounted as a robot's base is: x ahead, y to the left, z up.
BASE_FROM_CAMERA = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.2, 0.0, 0.3]))
SIMULATION = SimulationConfig(
    width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=4.0, samples=1, light="none"
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three seconds of a walk through the simulated room, small images, with truth."""
    folder = tmp_path_factory.mktemp("track") / "walk"
    config = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=3.0, samples=1)
    write_folder(simulate(config, "map"), folder)
    return folder


def figures_of(finished):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(finished.stdout, parse_constant=refuse)


@pytest.fixture(scope="module")
def tracked(recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    files = ("--plot", folder / "a.png", "--output", folder / "a.tum")
    finished = succeed("track", recording, *files, "--json")
    return finished, folder


def test_the_camera_is_reported_and_a_guess_is_called_one(tracked, recording, tmp_path):
    finished, _ = tracked
    assert "camera: focal length 240.0 px, as recorded with the images" in finished.stderr
    assert figures_of(finished)["camera"]["source"] == "recorded"
    images = tmp_path / "images"
    shutil.copytree(recording / "rgb", images)
    guessed = visloc("track", images, "--last", 5)
    assert "camera: focal length 384.0 px to 35 %, guessed from the image size alone" in guessed.stdout
    assert "--camera FILE" in guessed.stdout


def test_the_file_holds_what_was_tracked_and_how_well(tracked):
    finished, folder = tracked
    figures = figures_of(finished)
    assert figures["frames"] == NUM_FRAMES
    assert figures["tracked_frames"] == len(read_tum(folder / "a.tum"))
    assert figures["tracked_frames"] + sum(figures["losses"].values()) == NUM_FRAMES
    assert figures["tracked_share_after_start"] == 1.0
    assert 0.0 < figures["start_s"] < 1.5
    assert figures["tracked_frames"] == NUM_FRAMES
    assert figures["frames_located_afterwards"] == round(15.0 * figures["start_s"])
    assert figures["ate_sim3_m"] < 0.05
    assert figures["aligned_orientation_error_deg"]["rmse"] < 2.0
    assert figures["aligned_orientation_error_deg"]["rmse"] < figures["rotation_error_deg"]["rmse"] < 5.0
    assert figures["rpe"]["over_1_s"]["translation_m"]["rmse"] < 0.1
    assert figures["rpe"]["over_path"]["translation_percent"] < 10.0
    assert figures["latency_ms"]["p95"] >= figures["latency_ms"]["p50"] > 0.0
    assert figures["peak_rss_mb"] > 50.0
    assert (figures["backend"], figures["live"], figures["source"]) == ("klt", False, "walk")
    assert {"machine", "command", "date", "fps", "stage_ms", "segments", "loss_events"} <= set(figures)
    assert figures["timings"]["total_ms"]["p95"] >= figures["timings"]["inference_ms"]["p50"] > 0.0
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_as_tum_publishes_it(recording, tracked, tmp_path):
    """Stamps of the epoch, images listed, truth at a rate of its own, depth images beside."""
    begin_ns, frames = 1_305_031_229_000_000_000, open_source(recording)
    folder = tmp_path / "rgbd_dataset_room"
    shutil.copytree(recording / "rgb", folder / "rgb")
    shutil.copytree(recording / "rgb", folder / "depth")
    shutil.copy(recording / "camera.yaml", folder)
    lines = [f"{(begin_ns + image.stamp_ns) / 1e9:.6f} rgb/{image.path.name}" for image in frames.images]
    (folder / "rgb.txt").write_text("\n".join(["# color images", "# timestamp filename", *lines]))
    truth = frames.ground_truth
    write_tum(folder / "groundtruth.txt", begin_ns + truth.stamps_ns + 2_000_000, truth.poses)
    finished = succeed("track", folder, "--json")
    figures, known = figures_of(finished), figures_of(tracked[0])
    assert figures["tracked_frames"] == NUM_FRAMES
    assert figures["ate_sim3_m"] == pytest.approx(known["ate_sim3_m"], rel=0.02)


def test_two_runs_give_the_same_path_and_people_get_a_table(recording, tracked, tmp_path):
    again = succeed("track", recording, "-o", tmp_path / "again.tum", "--timings")
    assert all(words in again.stdout for words in ("located afterwards", "Sim3 ATE", "init, once", "inference"))
    assert (tmp_path / "again.tum").read_text() == (tracked[1] / "a.tum").read_text()


def test_truth_may_be_given_as_a_file(recording, tracked, tmp_path):
    truth = read_tum(recording / "groundtruth_tum.txt")
    write_tum(tmp_path / "large.tum", truth.stamps_ns, [SE3(p.rotation, 7.0 * p.translation) for p in truth.poses])
    finished = succeed("track", recording, "--ground-truth", tmp_path / "large.tum", "--json")
    assert figures_of(finished)["ate_sim3_m"] == pytest.approx(7.0 * figures_of(tracked[0])["ate_sim3_m"], rel=1e-3)


def test_live_at_the_speed_of_the_stamps(recording, tmp_path):
    finished = succeed("track", recording, "--live", "--last", 14, "--json")
    figures = figures_of(finished)
    assert figures["live"] is True
    assert figures["frames"] + figures["frames_dropped"] == 15


def test_each_segment_gets_a_file_and_the_longest_the_given_name(tmp_path):
    poses = [OdometryPose(row, SE3(np.eye(3), [row, 0.0, 0.0]), int(row >= 3), 50) for row in range(8)]
    written = list(write_segments(tmp_path / "path.tum", poses))
    assert written == [tmp_path / "path_segment0.tum", tmp_path / "path.tum"]
    assert [len(read_tum(path)) for path in written] == [3, 5]
    with pytest.raises(OutputError, match="absent"):
        list(write_segments(tmp_path / "absent" / "path.tum", poses))


def test_what_was_tracked_before_an_image_of_another_size_is_kept(recording, tracked, tmp_path):
    shutil.copytree(recording, tmp_path / "walk")
    spoilt = sorted(tmp_path.glob("walk/**/*.[jp]*g"))[30]
    cv2.imwrite(str(spoilt), np.zeros((100, 100), np.uint8))
    finished = visloc("track", tmp_path / "walk", "-o", tmp_path / "a.tum", "--json")
    assert isinstance(finished.exception, CalibrationError)
    assert "100x100" in str(finished.exception)
    figures = figures_of(finished)
    assert (figures["complete"], figures["frames"]) == (False, 30)
    kept, whole = (path.read_text() for path in (tmp_path / "a.tum", tracked[1] / "a.tum"))
    assert whole.startswith(kept)
    assert figures["tracked_frames"] == len(read_tum(tmp_path / "a.tum")) > 10


def test_what_was_tracked_before_ctrl_c_is_kept(recording, tmp_path, monkeypatch):
    def stop_after_20(source):
        yield from islice(decode(source), 20)
        raise KeyboardInterrupt

    monkeypatch.setattr("visloc_ros.apps.command_track.decode", stop_after_20)
    finished = visloc("track", recording, "--json")
    assert finished.exit_code != 0
    assert figures_of(finished)["frames"] == 20
    assert not figures_of(finished)["complete"]


def test_nothing_is_reported_when_the_first_frame_fails(recording, tmp_path, monkeypatch):
    def fail(source):
        raise SourceError("nothing there")
        yield

    monkeypatch.setattr("visloc_ros.apps.command_track.decode", fail)
    finished = visloc("track", recording, "--json")
    assert str(finished.exception) == "nothing there"
    assert finished.stdout == ""


def test_an_unknown_backend_is_reported_with_the_known_ones(recording):
    finished = visloc("track", recording, "--backend", "orb")
    assert isinstance(finished.exception, ConfigError)
    assert "klt" in str(finished.exception)


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_a_file_without_a_folder_is_reported_before_anything_is_tracked(recording, tmp_path, monkeypatch, option):
    monkeypatch.delattr("visloc_ros.apps.command_track.decode")
    finished = visloc("track", recording, option, tmp_path / "absent" / "a")
    assert isinstance(finished.exception, OutputError)
    assert str(tmp_path / "absent") in str(finished.exception)


def test_an_unwritable_file_is_reported(recording, tmp_path):
    finished = visloc("track", recording, "--last", 1, "--plot", tmp_path)
    assert isinstance(finished.exception, OutputError)
    assert str(tmp_path) in str(finished.exception)


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """A recording of camera, IMU and wheels, and the true path of the camera."""
    film, path = simulate(SIMULATION, "map"), tmp_path_factory.mktemp("robot") / "bag"
    begin_ns = film.stamp_ns(0)
    with BagWriter(path) as writer:
        writer.write_tf("/tf_static", begin_ns, "base_link", "camera", BASE_FROM_CAMERA)
        writer.write_tf("/tf_static", begin_ns, "base_link", "imu", SE3.identity())
        for seconds in np.arange(0.0, SIMULATION.duration_s, 0.01):
            base, later = (PATHS["map"].pose(t) @ BASE_FROM_CAMERA.inverse for t in (seconds, seconds + 0.01))
            rate = rotation_vector(base.rotation.T @ later.rotation) / 0.01
            stamp_ns = begin_ns + round(seconds * NANOSECONDS)
            writer.write_imu("/imu", stamp_ns, "imu", base.rotation.T @ [0.0, 0.0, 9.81], rate)
            writer.write_odometry("/wheels", stamp_ns, "odom", "base_link", base)
        for frame in film:
            writer.write_camera_info("/camera/camera_info", frame.stamp_ns, "camera", frame.camera)
            jpeg = encode_jpeg(frame.image, 95)
            writer.write_compressed_image("/camera/image/compressed", frame.stamp_ns, "camera", jpeg)
    return path, film.ground_truth


def test_the_scale_is_reported_where_wheels_are_named(robot, tmp_path):
    bag, truth = robot
    arguments = ["track", bag, "--output", tmp_path / "path.tum"]
    plain = visloc(*arguments)
    told = visloc(*arguments, "--odometry-topic", "/wheels", "--imu-topic", "/imu")
    assert (plain.exit_code, told.exit_code) == (0, 0), told.output
    assert "m a unit" not in plain.stdout
    found = re.search(r"([\d.]+) m a unit", told.stdout)
    path = read_tum(tmp_path / "path.tum")
    true = [truth.nearest(int(stamp_ns), 1000).translation for stamp_ns in path.stamps_ns]
    assert float(found[1]) == pytest.approx(umeyama(true, path.positions).scale, rel=0.03)


def test_a_topic_that_is_not_there_is_reported(robot):
    finished = visloc("track", robot[0], "--imu-topic", "/imu0")
    assert finished.exit_code == 1
    assert "no topic /imu0" in str(finished.exception)

"""A rig of two cameras through the simulated room: one trajectory of the body, whichever camera sees something."""

from dataclasses import replace

import numpy as np
import pytest
from visloc_command import DEMO_MAP, visloc

from visloc_ros.apps.offline_run import RunConfig
from visloc_ros.apps.rig_run import run_rig
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.map import open_map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.core.types import State
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.rig import RigEngine
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.path import PATHS, MountedPath
from visloc_ros.sources.bag_writer import BagWriter
from visloc_ros.sources.rig_files import read_rig_file, write_rig_yaml
from visloc_ros.sources.rig_recording import RigRecording
from visloc_ros.sources.ros_images import encode_jpeg

WALK = SimulationConfig(duration_s=3.0, rate_hz=10.0, samples=1)
FRONT = SE3(rotation_matrix([0.1, 0.2, 0.0]), np.array([0.3, 0.0, 0.1]))
FRONT_FROM_LEFT = SE3(rotation_matrix([0.0, -np.pi / 2, 0.0]), np.array([-0.1, 0.0, -0.1]))


class Recorded:
    """The frames of a simulated camera, black from a time on, or none."""

    def __init__(self, simulation, covered_s=np.inf, unplugged_s=np.inf):
        self.name, self.calibration, self.camera = simulation.name, simulation.calibration, simulation.camera
        self.calibrated, self.ground_truth = True, simulation.ground_truth
        since_s = [(frame, (frame.stamp_ns - simulation.stamp_ns(0)) / NANOSECONDS) for frame in simulation]
        self.frames = [
            replace(frame, image=np.zeros_like(frame.image)) if seconds > covered_s else frame
            for frame, seconds in since_s
            if seconds <= unplugged_s
        ]

    def __len__(self):
        return len(self.frames)

    def __iter__(self):
        return iter(self.frames)


@pytest.fixture(scope="module")
def cameras():
    path = PATHS["localize"]
    left = simulate(WALK, "localize", path=MountedPath(path, FRONT_FROM_LEFT))
    return {"front": simulate(WALK, "localize"), "left": left}


@pytest.fixture(scope="module")
def rig():
    return Rig({"front": RigCamera(FRONT), "left": RigCamera(FRONT @ FRONT_FROM_LEFT)})


@pytest.fixture(scope="module")
def engine():
    return AnchorEngine(open_map(DEMO_MAP), most_turns=1)


def errors_m(record, simulation):
    truth = simulation.ground_truth
    assert len(record.frames) == len(truth)
    return [
        np.linalg.norm(frame.map_from_camera.translation - (pose @ FRONT.inverse).translation)
        for frame, pose in zip(record.frames, truth.poses, strict=True)
    ]


def test_the_trajectory_is_that_of_the_body(cameras, rig, engine):
    recording = RigRecording("walk", rig, {name: Recorded(camera) for name, camera in cameras.items()})
    record = run_rig(
        engine.map, recording, recording.ground_truth, RunConfig(), SilentProgress(), RigEngine(engine, rig)
    )
    assert max(errors_m(record, cameras["front"])) < 0.01
    assert record.notes[0] == "'front' leads from 0.0 s on"
    assert any(note.startswith("cameras found in the map: 'front' in ") for note in record.notes)
    assert recording.ground_truth.poses[0].is_close(cameras["front"].pose(0) @ FRONT.inverse, 1e-9, 1e-6)


def test_a_camera_whose_stamps_are_late_is_named_and_stays_where_it_is(cameras, rig, engine):
    sources = {name: Recorded(camera) for name, camera in cameras.items()}
    late = RigRecording("walk", rig.with_time_shift("left", 0.1), sources)
    rig_engine = RigEngine(engine, late.rig)
    often = RunConfig(causal=True, anchor_period_s=0.1, anchor_latency_s=0.0)
    record = run_rig(engine.map, late, late.ground_truth, often, SilentProgress(), rig_engine)
    (words,) = (note for note in record.notes if "the stamps of 'left'" in note)
    assert "ms (sigma" in words
    assert "correct its clock, or set its timeshift_cam_imu to" in words
    refined = rig_engine.places.refined()
    assert refined.rig_from_camera("left") is rig.rig_from_camera("left")
    assert refined.cameras["left"].time_shift_s == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("what", ["covered_s", "unplugged_s"])
def test_another_camera_leads_when_one_sees_nothing(cameras, rig, engine, what):
    sources = {"front": Recorded(cameras["front"], **{what: 1.0}), "left": Recorded(cameras["left"])}
    recording = RigRecording("walk", rig, sources)
    record = run_rig(
        engine.map, recording, recording.ground_truth, RunConfig(), SilentProgress(), RigEngine(engine, rig)
    )
    assert max(errors_m(record, cameras["front"])) < 0.05
    leads = [note for note in record.notes if "leads" in note]
    assert leads[0] == "'front' leads from 0.0 s on"
    assert len(leads) == 2
    assert leads[1].startswith("'left' leads from 1.")
    for frame, pose in zip(record.frames, cameras["front"].ground_truth.poses, strict=True):
        difference = frame.map_from_camera.translation - (pose @ FRONT.inverse).translation
        assert difference @ np.linalg.solve(frame.covariance[:3, :3], difference) < 16.3  # one in a thousand


@pytest.mark.parametrize("what", ["covered_s", "unplugged_s"])
def test_poses_in_time_go_on_when_another_camera_leads(cameras, rig, engine, what):
    sources = {"front": Recorded(cameras["front"], **{what: 2.0}), "left": Recorded(cameras["left"])}
    recording, config = RigRecording("walk", rig, sources), RunConfig(causal=True)
    record = run_rig(engine.map, recording, recording.ground_truth, config, SilentProgress(), RigEngine(engine, rig))
    assert any("'left' leads from 2." in note for note in record.notes)
    first = next(index for index, frame in enumerate(record.frames) if frame.state is State.LOCALIZED)
    assert first < 20
    assert {frame.state for frame in record.frames[first:]} == {State.LOCALIZED}
    whole = cameras["front"].ground_truth
    truth = {stamp_ns: pose @ FRONT.inverse for stamp_ns, pose in zip(whole.stamps_ns, whole.poses, strict=True)}
    for frame in record.frames[first:]:
        assert frame.map_from_camera.is_close(truth[frame.stamp_ns], 0.03, 0.5)


def test_the_command_names_a_camera_that_is_mounted_otherwise(cameras, rig, tmp_path):
    for name, camera in cameras.items():
        write_folder(camera, tmp_path / "walk" / name)
    turn = SE3(rotation_matrix([0.0, np.radians(3.0), 0.0]), np.zeros(3))
    place = rig.rig_from_camera("left")
    write_rig_yaml(tmp_path / "rig.yaml", rig.with_place("left", place @ turn))
    (tmp_path / "often.yaml").write_text("anchor_period_s: 0.1\n")
    finished = visloc(
        *("run", DEMO_MAP, tmp_path / "walk", "--rig", tmp_path / "rig.yaml", "-o", tmp_path / "out"),
        *("--config", tmp_path / "often.yaml"),
    )
    words = " ".join((finished.stdout + finished.stderr).split())
    assert "'left' is mounted 3.0" in words or "'left' is mounted 2.9" in words
    observed = read_rig_file(tmp_path / "out" / "rig_observed.yaml")
    assert observed.rig_from_camera("left").is_close(place, 0.02, 0.3)
    trajectory = read_tum(tmp_path / "out" / "trajectory.tum")
    assert len(trajectory) == WALK.num_frames
    assert trajectory.poses[0].is_close(cameras["front"].pose(0) @ FRONT.inverse, 0.02, 0.5)


def test_the_command_takes_topics_and_places_from_a_bag(cameras, rig, tmp_path):
    bag, frames = tmp_path / "walk", {name: list(camera) for name, camera in cameras.items()}
    with BagWriter(bag) as writer:
        for name in frames:
            writer.write_tf("/tf_static", 1, "base_link", name, rig.rig_from_camera(name))
        for both in zip(*frames.values(), strict=True):
            for name, frame in zip(frames, both, strict=True):
                writer.write_camera_info(f"/{name}/camera_info", frame.stamp_ns, name, frame.camera)
                image = encode_jpeg(frame.image, 95)
                writer.write_compressed_image(f"/{name}/image/compressed", frame.stamp_ns, name, image)
    (tmp_path / "rig.yaml").write_text("cameras:\n  front:\n  left:\n")
    visloc("run", DEMO_MAP, bag, "--rig", tmp_path / "rig.yaml", "-o", tmp_path / "out")
    trajectory = read_tum(tmp_path / "out" / "trajectory.tum")
    assert len(trajectory) == WALK.num_frames
    for index in (0, -1):
        truth = cameras["front"].pose(index % WALK.num_frames) @ FRONT.inverse
        assert trajectory.poses[index].is_close(truth, 0.02, 0.5)

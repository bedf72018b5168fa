"""Loops found in pictures of the simulated room, with the features and the matcher that dpvo uses."""

import numpy as np
import pytest
import torch
from dpvo_journey import CONFIG, Journey, unit_at
from dpvo_oracle import to_row

from testing.look_alike import close_up, make_look_alike
from visloc_dpvo import DpvoConfig
from visloc_dpvo.frame_points import Triple, triangulate
from visloc_dpvo.images import PinholeImages
from visloc_dpvo.network import PatchNetwork
from visloc_dpvo.odometry import DpvoOdometry
from visloc_dpvo.retrieval_loops import LoopModels, measure_loop
from visloc_ros.core.geometry import SE3, Sim3, rotation_vector
from visloc_ros.core.types import Frame, LoopClosure
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.sequence import Sensor

FRAMES, ROUND = 72, 64  # of a path that comes back after 16 s
ELSEWHERE_FROM = 20
CAMERA = SimulationConfig(
    width=240, height=180, focal_px=180.0, lens="none", rate_hz=4.0, duration_s=18.0, samples=1, exposure_ms=0.0
)


@pytest.fixture(scope="module")
def models():
    return LoopModels.load(CONFIG)


@pytest.fixture(scope="module")
def room():
    return make_living_room(CAMERA.seed)


@pytest.fixture(scope="module")
def at_home(room):
    return simulate(CAMERA, room=room)


@pytest.fixture(scope="module")
def other_room(room):
    return make_look_alike(room, seed=1)


@pytest.fixture(scope="module")
def abroad(other_room):
    return simulate(CAMERA, room=other_room)


def journey(models, home, abroad=None):
    """The path through the room, from some frame on in another one."""
    images = PinholeImages(home.camera, max_width=320)

    def image(frame):
        source = home if abroad is None or frame < ELSEWHERE_FROM else abroad
        return torch.from_numpy(images(source.frame(frame).image))

    path = [home.pose(frame) for frame in range(FRAMES)]
    return Journey(path, image, torch.from_numpy(images.quarter_intrinsics).float(), models)


def test_coming_back_into_the_room_closes_the_loop(models, at_home):
    travelled = journey(models, at_home).run()
    before = travelled.error
    travelled.loops.finish(travelled.state)
    (loop,) = travelled.loops._finder._detector.closed
    assert abs(loop.query - loop.place - ROUND) <= 5
    assert before > 0.08
    assert travelled.error < 0.35 * before
    (closure,) = travelled.closures
    error = loop_error(closure, travelled.path)
    assert error @ np.linalg.solve(closure.covariance, error) < 18.5  # 99 % of chi-square, 7 degrees of freedom


def loop_error(closure, path):
    """Error (7,) of a loop on a journey's path, ordered as its covariance."""
    found, true = closure.earlier_from_later, path[closure.earlier_ns].inverse @ path[closure.later_ns]
    unit = unit_at(closure.earlier_ns)
    shift, turn = unit * true.translation - found.translation, rotation_vector(true.rotation @ found.rotation.T)
    return np.array([*shift, *turn, np.log(unit / unit_at(closure.later_ns) / found.scale)])


@pytest.mark.parametrize("wanted", [True, False])
def test_the_odometry_looks_for_loops_where_the_option_is_set(models, at_home, monkeypatch, wanted):
    monkeypatch.setattr(LoopModels, "load", lambda config: models)
    config = DpvoConfig(preset="cpu", classic_loop_closure=wanted, device="cpu", min_contrast=0.0)
    odometry = DpvoOdometry(config, PatchNetwork())
    grey = np.full((180, 240), 99, dtype=np.uint8)
    odometry.track(Frame(0, grey, at_home.camera))
    loops = odometry._session.front_end._appearance_loops
    assert (loops is not None) == wanted
    assert odometry.take_loops() == ()


@pytest.mark.parametrize("by_nearness", [False, True])
def test_a_closed_loop_is_reported_once_where_its_units_are_known(models, at_home, monkeypatch, by_nearness):
    """Loops by nearness change the scale of frames, so that no loop is given in units of the poses given out."""
    monkeypatch.setattr(LoopModels, "load", lambda config: models)
    config = DpvoConfig(
        preset="cpu", classic_loop_closure=True, loop_closure=by_nearness, device="cpu", min_contrast=0.0
    )
    odometry = DpvoOdometry(config, PatchNetwork())
    odometry.track(Frame(0, np.full((180, 240), 99, dtype=np.uint8), at_home.camera))
    loop = LoopClosure(0, 1, Sim3.identity(), np.eye(7))
    closures = odometry._session.front_end._appearance_loops._closures
    closures.append(loop)
    assert odometry.take_loops() == (() if by_nearness else (loop,))
    assert odometry.take_loops() == ()
    closures.append(loop)
    odometry.reset()
    assert odometry.take_loops() == ()


def points_before(picture, simulation, models):
    """Points of a frame straight before a picture that fills a quarter of it, between two others to its sides."""
    pose = close_up(picture, simulation.camera, share=0.25)
    poses = [SE3(pose.rotation, pose.translation + pose.rotation @ [x, 0.0, 0.0]) for x in (-0.12, 0.0, 0.12)]
    sensor = Sensor(CAMERA, noise_key=0)
    images = [sensor.expose(simulation.renderer.render_exposure([one]), 0, 0.0) for one in poses]
    features = tuple(models.extractor.extract(image) for image in images)
    rows = torch.stack([to_row(one.inverse) for one in poses]).float().numpy()
    intrinsics = 4.0 * PinholeImages(simulation.camera, max_width=320).quarter_intrinsics
    return triangulate(Triple(features, rows, intrinsics.astype(np.float32), 0.5), models.matcher)


def test_a_picture_that_hangs_in_two_rooms_is_no_loop(models, room, other_room, at_home, abroad):
    picture = room.quad("hills front")
    (print_abroad,) = (quad for quad in other_room.quads if quad.texture is picture.texture)
    here, there = points_before(picture, at_home, models), points_before(print_abroad, abroad, models)
    assert measure_loop(here, here, models.matcher).is_sure
    evidence = measure_loop(here, there, models.matcher)
    assert evidence.alignment.num_inliers >= 40  # the picture itself agrees
    assert not evidence.is_sure


def test_the_same_pictures_in_another_room_close_nothing(models, at_home, abroad):
    travelled = journey(models, at_home, abroad).run()
    poses = travelled.state.poses.clone()
    assert not travelled.loops.finish(travelled.state)
    assert travelled.loops.num_closed == 0
    np.testing.assert_array_equal(travelled.state.poses, poses)

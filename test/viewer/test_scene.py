"""What of a map and a recording is put before the viewer: in which colours, from where, and when."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from visloc_ros.apps.command_view import labelled_maps
from visloc_ros.core.geometry import SE3
from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.map import NO_POINT, open_map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.localization.searchable_map import open_searchable_map, reduce_map_to
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.viewer.label_view import add_label_switches
from visloc_ros.viewer.point_colours import GREY, point_colours
from visloc_ros.viewer.scene import MOST_FRUSTUMS, Scene, close_server, field_of_view, open_server
from visloc_ros.viewer.trajectory_view import Playback, ShownTrajectory, TrajectoryView

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"


@pytest.fixture(scope="module")
def place():
    return open_map(DEMO_MAP)


@pytest.fixture
def server():
    server = open_server("127.0.0.1", 28890, "test")
    yield server
    close_server(server)


def painted(place, left, right):
    """The same map, its thumbnails of one colour left and another right."""
    picture = np.empty((48, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = left, right
    data = encode_jpeg(picture, 95)
    return dataclasses.replace(place, thumbnails={image.name: data for image in place.images})


def test_points_have_the_colour_of_the_pixels_that_see_them(place):
    left, right = np.array([200, 30, 30]), np.array([30, 30, 200])
    colours = point_colours(painted(place, left, right)).astype(int)
    fractions = [[] for _ in place.points]
    for image in place.images:
        for row, (x, _) in zip(image.point_rows, image.features.keypoints, strict=True):
            if row != NO_POINT:
                fractions[row].append(x / image.camera.width)
    for colour, seen in zip(colours, fractions, strict=True):
        if max(seen) < 0.45:
            assert np.abs(colour - left).max() < 25
        elif min(seen) > 0.55:
            assert np.abs(colour - right).max() < 25


def test_points_of_a_map_without_pictures_are_grey(place):
    assert np.all(point_colours(dataclasses.replace(place, thumbnails={})) == GREY)


def test_field_of_view_is_that_of_the_lens():
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 400.0, 320.0, 240.0])
    vertical_rad, aspect = field_of_view(camera)
    assert np.tan(vertical_rad / 2) == pytest.approx(240 / 400)
    assert aspect == pytest.approx((640 / 500) / (480 / 400))


def test_the_map_stands_upright_and_its_cameras_are_where_they_were(place, server):
    scene = Scene.of_map(server, place)
    assert scene.show_references(place) == min(len(place.images), MOST_FRUSTUMS)
    assert scene.unit == "m"
    assert np.allclose(server.initial_camera.up, [0, 0, 1])
    assert (server.initial_camera.position - scene.centre)[2] > 0.0  # from above
    for index, image in enumerate(place.images):
        frustum = server.scene.get_handle_by_name(f"/references/{index}")
        assert np.allclose(frustum.position, image.map_from_camera.translation)
        assert SE3.from_quaternion(frustum.wxyz, frustum.position).is_close(image.map_from_camera, 1e-6, 1e-4)
        assert frustum.image is not None
    width = np.ptp(np.percentile(place.points, [5, 95], axis=0), axis=0)
    assert scene.width == pytest.approx(np.linalg.norm(width))


def test_a_trajectory_is_coloured_by_its_errors_and_shown_frame_by_frame(place, server):
    poses = tuple(image.map_from_camera for image in place.images[:10])
    trajectory = Trajectory(np.arange(10, dtype=np.int64) * 100_000_000, poses)
    errors = np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, np.nan])
    shown = ShownTrajectory(trajectory, place.images[0].camera, {3: np.zeros((6, 8, 3), np.uint8)}, errors)
    blue, red = shown.colours[0].astype(int), shown.colours[8].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert np.all(shown.colours[9] == 128)  # not known
    view = TrajectoryView(Scene.of_map(server, place), shown)
    try:
        camera = server.scene.get_handle_by_name("/camera")
        view.show(3)
        assert np.allclose(camera.position, poses[3].translation)
        assert camera.image is not None
        view.show(4)
        assert camera.image is None
        assert server.scene.get_handle_by_name("/trajectory/path") is not None
    finally:
        view.close()


def test_a_switch_shows_labelled_points_instead_of_all(server, prepared_room):
    place, search = open_map(prepared_room[0]), prepared_room[1]
    scene, labelled = Scene.of_map(server, place), labelled_maps(place)
    switch = add_label_switches(scene, labelled)[search]
    points = server.scene.get_handle_by_name(f"/{search}")
    assert (scene.points.visible, points.visible) == (True, False)
    assert 10 < len(points.points) < len(place.points)
    assert np.array_equal(points.colors, landmark_colours(labelled[search].point_labels))
    switch.value = True
    wait_until(lambda: points.visible and not scene.points.visible)
    switch.value = False
    wait_until(lambda: scene.points.visible and not points.visible)


def test_a_reduced_map_is_shown_with_the_frames_that_are_left(server, prepared_room, tmp_path):
    path, search = prepared_room
    reduce_map_to(path, search, tmp_path / "small")
    place = open_searchable_map(tmp_path / "small")
    scene = Scene.of_map(server, place)
    assert scene.show_references(place) == len(place.images) > 0
    assert len(scene.points.points) == len(place.points)
    assert list(add_label_switches(scene, labelled_maps(place))) == [search]


def test_a_map_without_labels_has_no_such_switch(server, place):
    assert labelled_maps(place) == {}
    assert add_label_switches(Scene.of_map(server, place), {}) == {}


def test_broken_labels_are_named_and_the_map_is_shown_without_them(prepared_room, capsys):
    whole, search = open_map(prepared_room[0]), prepared_room[1]
    broken = dict.fromkeys(whole.prepared[search], b"")
    assert labelled_maps(dataclasses.replace(whole, prepared={search: broken})) == {}
    assert f"its {search} are not shown: " in capsys.readouterr().out


def test_the_points_of_a_map_are_hidden_while_any_labels_are_shown(server, place):
    labels = np.arange(len(place.points)) % 3
    labelled = dataclasses.replace(place, point_labels=labels)
    scene = Scene.of_map(server, place)
    switches = add_label_switches(scene, {"landmarks": labelled, "instances": labelled})
    landmarks, instances = (server.scene.get_handle_by_name(f"/{name}") for name in switches)
    assert np.array_equal(instances.colors, landmark_colours(labels))
    for on in switches.values():
        on.value = True
    wait_until(lambda: landmarks.visible and instances.visible and not scene.points.visible)
    switches["landmarks"].value = False
    wait_until(lambda: not landmarks.visible)
    assert (instances.visible, scene.points.visible) == (True, False)


def wait_until(condition):
    """What a switch does happens in a thread of the server."""
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


STAMPS_NS = np.array([5_000_000_000, 5_100_000_000, 5_300_000_000, 6_000_000_000])


def test_time_goes_by_only_while_it_plays_and_frames_keep_their_own_intervals():
    playback = Playback(STAMPS_NS)
    playback.advance(0.5)
    assert (playback.index, playback.time_s) == (0, 0.0)
    playback.is_playing = True
    seen = []
    for _ in range(10):
        playback.advance(0.1)
        seen.append(playback.index)
    assert seen[:9] == [1, 1, 2, 2, 2, 2, 2, 2, 2]
    assert playback.index == 3


def test_speed_a_jump_and_the_end():
    playback = Playback(STAMPS_NS, speed=2.0, is_playing=True)
    playback.advance(0.15)
    assert playback.index == 2
    playback.go_to(3)
    assert (playback.index, playback.time_s) == (3, 1.0)
    playback.advance(0.01)  # from the beginning again
    assert playback.index == 0


def test_a_recording_of_one_frame_stays_there():
    playback = Playback(STAMPS_NS[:1], is_playing=True)
    for _ in range(3):
        playback.advance(1.0)
        assert playback.index == 0

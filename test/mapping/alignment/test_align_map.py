"""A finished map moved to another frame: the demo's map, whose frame is known exactly, after it was moved away."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
import yaml
from room_versions import unpacked_room
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.errors import ConfigError, MapError, SourceError
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.manifest import read_manifest, write_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_versions import list_versions, roll_back
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.alignment.floor import align_to_floor
from visloc_ros.mapping.alignment.grid import GridPose, align_to_grid
from visloc_ros.mapping.alignment.poses import align_to_poses, align_to_positions
from visloc_ros.mapping.alignment.tags import align_to_tags, read_tags
from visloc_ros.mapping.update.use import MapUse, read_use, write_use
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.room import Room, make_quad
from visloc_ros.sources.measurements import GeoPosition, Measurements
from visloc_ros.sources.named_poses import NamedPoses
from visloc_ros.sources.occupancy_grid import OccupancyGrid, read_occupancy_grid

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"
TILTED = Sim3(0.4, rotation_matrix([0.25, -0.15, 1.1]), np.array([3.0, -7.0, 2.0]))
"""A frame in which nobody knows what is up, nor metres."""


@pytest.fixture(scope="module")
def room():
    return open_map(DEMO_MAP)


@pytest.fixture(scope="module")
def tilted_map(room, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tilted") / "map"
    align_map(DEMO_MAP, folder, lambda _: MapFit(TILTED, "nothing", {}, metric=False, gravity_aligned=False))
    return folder


def errors_of(found, room):
    """How far images of the moved map are from where they truly are: metres and degrees, the largest."""
    true = {image.name: image.map_from_camera for image in room.images}
    pairs = [(image.map_from_camera, true[image.name]) for image in found.images]
    metres = max(np.linalg.norm(a.translation - b.translation) for a, b in pairs)
    return metres, max(rotation_angle_deg(a.rotation, b.rotation) for a, b in pairs)


def test_a_moved_map_is_a_map_like_any_other(room, tilted_map):
    moved = open_map(tilted_map)
    assert not moved.manifest.metric
    assert moved.manifest.alignment == {"source": "nothing", "residuals": {}}
    np.testing.assert_allclose(
        sorted(np.linalg.norm(moved.points - moved.points.mean(axis=0), axis=1)),
        sorted(0.4 * np.linalg.norm(room.points - room.points.mean(axis=0), axis=1)),
        atol=1e-9,
    )
    visit = simulate(SimulationConfig(), "localize")
    found = AnchorEngine(moved, AnchorConfig()).localize(visit.frame(100))
    assert isinstance(found, AnchorPose)
    expected = TILTED.apply_to_pose(visit.pose(100))
    assert found.map_from_camera.is_close(expected, translation=0.4 * 0.03, degrees=0.5)
    assert (tilted_map / "map.html").read_text(encoding="utf-8").count("in the frame of: nothing") == 1


def test_a_map_that_is_moved_in_place_keeps_its_versions_and_counts(room, tmp_path):
    path = unpacked_room(tmp_path / "room")
    use = MapUse.new(len(room.points), len(room.images))
    use.points.seen[:] = np.arange(len(room.points))
    write_manifest(path, write_use(path, use, read_manifest(path)))
    for _ in range(2):
        align_map(path, path, lambda _: MapFit(TILTED, "x", {}, metric=False, gravity_aligned=False), overwrite=True)
    moved, versions = open_map(path), list_versions(path)
    np.testing.assert_allclose(moved.points, (TILTED @ TILTED) @ room.points, atol=1e-9)
    kept = read_use(path, len(room.points), len(room.images)).points
    assert kept.seen.tolist() == use.points.seen.tolist()
    assert [one.number for one in versions] == [1, 2, 3]
    assert [step["change"] for step in moved.manifest.history] == ["align", "align"]
    first = versions[0].manifest
    np.testing.assert_allclose(moved.manifest.frame.from_frame(first.frame) @ room.points, moved.points, atol=1e-9)
    assert [roll_back(path).version, roll_back(path).version] == [2, 1]
    assert read_manifest(path).frame == first.frame == room.manifest.frame


def test_the_floor_becomes_level_and_the_height_of_the_camera_sets_the_scale(room, tilted_map):
    heights = [image.map_from_camera.translation[2] for image in room.images]
    fit = align_to_floor(open_map(tilted_map), camera_height=float(np.median(heights)))
    total = Sim3(fit.frame_from_map.scale, fit.frame_from_map.rotation, fit.frame_from_map.translation) @ TILTED
    assert total.scale == pytest.approx(1.0, rel=0.02)
    assert np.degrees(np.arccos(total.rotation[2, 2])) < 1.0, "z is up"
    assert abs((total @ np.array([3.0, 2.5, 0.0]))[2]) < 0.04, "the floor is at z = 0"
    assert fit.metric
    assert fit.gravity_aligned


def test_a_map_without_a_floor_is_refused(room):
    high = replace(room, points=room.points[room.points[:, 2] > 1.0])
    with pytest.raises(MapError, match="no floor was found"):
        align_to_floor(high)


def test_known_poses_bring_it_back_though_some_of_them_are_wrong(room, tilted_map, tmp_path):
    true = {image.name: image.map_from_camera for image in room.images}
    wrong = dict(list(true.items())[:4])
    known = true | {name: SE3(pose.rotation, pose.translation + 2.0 * np.eye(3)[0]) for name, pose in wrong.items()}
    found = align_map(tilted_map, tmp_path / "back", lambda map_: align_to_poses(map_, NamedPoses(known)))
    back = open_map(tmp_path / "back")
    metres, degrees = errors_of(back, room)
    assert metres < 1e-6
    assert degrees < 1e-4
    assert found.residuals["left_out"] == 4
    assert back.manifest.metric
    assert back.manifest.alignment["residuals"]["largest_m"] < 1e-6
    assert json.loads((tmp_path / "back" / "manifest.json").read_text())["alignment"]["source"] == "known poses"


def test_poses_of_something_else_are_refused_and_the_old_map_stays(room, tilted_map):
    rng = np.random.default_rng(0)
    known = {image.name: SE3(rotation_matrix(rng.normal(size=3)), rng.normal(size=3)) for image in room.images}
    before = (tilted_map / "manifest.json").read_bytes()
    with pytest.raises(MapError):
        align_map(tilted_map, tilted_map, lambda map_: align_to_poses(map_, NamedPoses(known)), overwrite=True)
    assert (tilted_map / "manifest.json").read_bytes() == before


def laser_grid(frame_from_map, yaw=0.0, height=0.3):
    """What a laser at a height sees of the room, as a grid of 5 cm in another frame."""
    grid = OccupancyGrid(np.zeros((420, 480), bool), 0.05, (-3.0, -8.0, yaw))
    for quad in make_living_room(0).quads:
        if abs(quad.normal[2]) > 0.5:
            continue
        s, t = np.meshgrid(np.linspace(0, 1, 300), np.linspace(0, 1, 300))
        points = quad.point(s.ravel(), t.ravel())
        seen = frame_from_map @ points[np.abs(points[:, 2] - height) < 0.02]
        cells = np.floor(grid.to_cells(seen[:, :2])).astype(int)
        grid.occupied[cells[:, 1], cells[:, 0]] = True
    return grid


def pose_of(x, y, yaw):
    return Sim3(1.0, rotation_matrix([0.0, 0.0, yaw]), np.array([x, y, 0.0]))


@pytest.mark.parametrize(("x", "y", "yaw", "turned"), [(4.0, -2.0, 0.7, 0.0), (6.0, 3.0, -2.5, 0.3)])
def test_a_map_is_laid_onto_the_grid_of_a_laser(room, x, y, yaw, turned):
    true = pose_of(x, y, yaw)
    near = GridPose(x + 0.5, y - 0.4, yaw + 0.3)
    fit = align_to_grid(room, laser_grid(true, turned), near)
    corners = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 0.0], [6.0, 5.0, 0.0], [0.0, 5.0, 0.0]])
    assert np.linalg.norm(fit.frame_from_map @ corners - true @ corners, axis=1).max() < 0.08
    assert fit.residuals["points_near_walls"] > 0.8


def test_all_headings_are_tried_and_a_second_place_that_fits_is_said(room):
    true = pose_of(4.0, -2.0, 0.7)
    grid = laser_grid(true)
    fit = align_to_grid(room, grid)
    assert np.linalg.norm(fit.frame_from_map.translation - true.translation) < 0.08
    twin = laser_grid(pose_of(9.0, 4.0, 0.7)).occupied
    with pytest.raises(MapError, match=r"in several places.*--near"):
        align_to_grid(room, replace(grid, occupied=grid.occupied | twin))


def test_a_grid_of_another_place_is_refused(room):
    rng = np.random.default_rng(0)
    grid = OccupancyGrid(np.zeros((300, 300), bool), 0.05, (0.0, 0.0, 0.0))
    for _ in range(12):
        row, column = rng.integers(0, 300, 2)
        grid.occupied[row, : rng.integers(20, 60)] = True
        grid.occupied[rng.integers(0, 100) :, column] |= rng.random() < 0.05
    with pytest.raises(MapError, match=r"fits the occupancy grid (nowhere|in several places)"):
        align_to_grid(room, grid)


def test_a_map_without_metres_is_not_laid_onto_a_grid(tilted_map):
    with pytest.raises(MapError, match="not in metres"):
        align_to_grid(open_map(tilted_map), laser_grid(pose_of(4.0, -2.0, 0.7)))


def write_grid(folder, grid):
    image = np.full(grid.occupied.shape, 254, np.uint8)
    image[grid.occupied[::-1]] = 0
    cv2.imwrite(str(folder / "map.pgm"), image)
    values = {"image": "map.pgm", "resolution": grid.resolution, "origin": list(grid.origin), "negate": 0}
    values |= {"occupied_thresh": 0.65, "free_thresh": 0.25}
    (folder / "map.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder / "map.yaml"


def test_a_grid_is_read_as_the_map_server_saves_it(tmp_path):
    grid = laser_grid(pose_of(4.0, -2.0, 0.7))
    read = read_occupancy_grid(write_grid(tmp_path, grid))
    np.testing.assert_array_equal(read.occupied, grid.occupied)
    assert (read.resolution, read.origin) == (grid.resolution, grid.origin)
    points = np.array([[1.0, 2.0], [-3.0, 0.5]])
    np.testing.assert_allclose(grid.to_frame(grid.to_cells(points)), points)


@pytest.mark.parametrize(
    "text", ["", "image: map.pgm", "image: no.pgm\nresolution: 0.05\norigin: [0, 0, 0]", "[1, 2]", "a: : b",
             "image: map.pgm\nresolution: -1\norigin: [0, 0, 0]", "image: map.pgm\nresolution: 1\norigin: [0, .nan, 0]"]
)  # fmt: skip
def test_a_file_that_is_no_grid_is_refused_with_a_remedy(tmp_path, text):
    (tmp_path / "map.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match="map_saver"):
        read_occupancy_grid(tmp_path / "map.yaml")


TAG_SIZE = 0.4
TAGS = {3: (0.08, 1.9, 2.3, 0.0), 7: (2.9, 4.92, 2.4, -90.0), 11: (5.92, 2.7, 2.3, 180.0)}


def room_with_tags():
    """The living room with AprilTags on three of its walls, over the pictures."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    quads = list(make_living_room(0).quads)
    for number, (x, y, z, yaw_deg) in TAGS.items():
        black = cv2.aruco.generateImageMarker(dictionary, number, 160)
        picture = np.repeat(np.pad(black, 20, constant_values=255)[..., None], 3, axis=2)
        facing = np.array([np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg)), 0.0]).round(12)
        size = TAG_SIZE * 200 / 160
        quads.append(make_quad(f"tag {number}", (x, y, z), facing, (0.0, 0.0, 1.0), (size, size), picture))
    return Room(tuple(quads))


class LookingAtTags:
    """From places a step apart at each of the tags in turn."""

    def pose(self, seconds):
        index = round(seconds)
        x, y, z, yaw_deg = TAGS[sorted(TAGS)[index % 3]]
        facing = np.array([np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg)), 0.0])
        aside = np.array([-facing[1], facing[0], 0.0])
        centre = np.array([x, y, 1.6]) + 2.2 * facing + (0.3 * (index // 3) - 0.3) * aside
        forward = np.array([x, y, z - 0.4]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        return SE3(np.column_stack([right, np.cross(forward, right), forward]), centre)


def write_tags(path, changes=None):
    tags = {
        number: {"x": x, "y": y, "z": z, "yaw_deg": yaw_deg}
        for number, (x, y, z, yaw_deg) in (TAGS | (changes or {})).items()
    }
    path.write_text(yaml.safe_dump({"family": "36h11", "size": TAG_SIZE, "tags": tags}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tag_frames():
    config = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=1.0, duration_s=6.0, exposure_ms=0.0)
    return list(simulate(config, "localize", room_with_tags(), LookingAtTags()))


def test_tags_on_the_walls_bring_a_map_back(room, tilted_map, tag_frames, tmp_path):
    tilted = open_map(tilted_map)
    engine = AnchorEngine(tilted, AnchorConfig())

    found = {frame.stamp_ns: engine.localize(frame) for frame in tag_frames}

    def locate(frame):
        anchor = found[frame.stamp_ns]
        return anchor.map_from_camera if isinstance(anchor, AnchorPose) else None

    places = read_tags(write_tags(tmp_path / "tags.yaml"))
    fit = align_to_tags(tilted, places, tag_frames, locate)
    total = fit.frame_from_map @ TILTED
    assert fit.residuals["tags"] == 3
    assert total.scale == pytest.approx(1.0, rel=0.02)
    assert rotation_angle_deg(total.rotation, np.eye(3)) < 1.0
    assert np.linalg.norm(total @ np.array([3.0, 2.5, 1.4]) - [3.0, 2.5, 1.4]) < 0.05
    moved = read_tags(write_tags(tmp_path / "wrong.yaml", {7: (3.0, 4.97, 1.2, -90.0)}))
    with pytest.raises(MapError, match=r"tag \d+ is .* m from where the file has it"):
        align_to_tags(tilted, moved, tag_frames, locate)
    with pytest.raises(MapError, match="none from two places"):
        align_to_tags(tilted, places, tag_frames[:2], locate)


ONE_TAG = "tags: {1: {x: 0, y: 0, z: 0, yaw_deg: 0}}"


@pytest.mark.parametrize(
    "text", ["", "tags: 3", f"family: 99h9\nsize: 0.1\n{ONE_TAG}", f"size: .nan\n{ONE_TAG}", "size: 0.1\ntags: {}"]
)
def test_a_file_that_holds_no_tags_is_refused(tmp_path, text):
    (tmp_path / "tags.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        read_tags(tmp_path / "tags.yaml")


class Photos:
    """The images of a map with positions on the earth: metres east and north of a place, with the noise of a survey."""

    name = "photos"

    def __init__(self, room, noise_m):
        self._frames = [
            Frame(index, np.zeros((4, 4), np.uint8), None, one.name.rpartition("photos/")[2])
            for index, one in enumerate(room.images)
        ]
        enu = pose_of(40.0, -25.0, 0.6) @ (20.0 * np.array([one.map_from_camera.translation for one in room.images]))
        enu += noise_m * np.random.default_rng(0).normal(size=enu.shape)
        earth = pycolmap.GPSTransform().enu_to_ellipsoid(enu, 47.0, 8.0, 400.0)
        self._positions = {index: GeoPosition(*one) for index, one in enumerate(earth.tolist())}

    def __iter__(self):
        return iter(self._frames)

    def read_measurements(self):
        return Measurements(geo_positions=self._positions)


def test_positions_on_the_earth_turn_a_map_to_east_and_north(room):
    fit = align_to_positions(room, Photos(room, noise_m=0.05))
    assert fit.frame_from_map.scale == pytest.approx(20.0, rel=0.01)
    assert rotation_angle_deg(fit.frame_from_map.rotation, pose_of(0.0, 0.0, 0.6).rotation) < 0.5
    assert fit.geo_origin["latitude"] == pytest.approx(47.0, abs=0.01)
    assert fit.residuals["images"] + fit.residuals["left_out"] >= len(room.images) - 1
    with pytest.raises(MapError, match=r"axes only to|contradict|scale only"):
        align_to_positions(room, Photos(room, noise_m=60.0))


def test_photos_of_a_folder_are_not_taken_for_images_of_their_names_of_another_source(room):
    images = [replace(one, name=f"photos/{one.name}") for one in room.images[::2]]
    others = [replace(one, name=image.name[7:]) for one, image in zip(room.images[1::2], images, strict=False)]
    mixed = replace(room, images=(*others, *images))
    fit = align_to_positions(mixed, Photos(replace(room, images=tuple(images)), noise_m=0.05))
    assert fit.frame_from_map.scale == pytest.approx(20.0, rel=0.02)
    assert fit.residuals["left_out"] == 0


def test_the_command_moves_a_map_and_says_how_well_it_fits(tmp_path):
    grid = write_grid(tmp_path, laser_grid(pose_of(4.0, -2.0, 0.7)))
    done = CliRunner().invoke(app, ["align-map", str(DEMO_MAP), "-o", str(tmp_path / "nav"), "--grid", str(grid)])
    assert done.exit_code == 0, done.output
    assert "aligned to occupancy grid (points near walls 0.9" in " ".join(done.output.split())
    assert open_map(tmp_path / "nav").manifest.alignment["source"] == "occupancy grid"


def test_the_command_needs_one_thing_to_align_to(tmp_path):
    done = CliRunner().invoke(app, ["align-map", str(DEMO_MAP), "-o", str(tmp_path / "nav")])
    assert isinstance(done.exception, ConfigError)
    done = CliRunner().invoke(app, ["align-map", str(DEMO_MAP), "-o", str(tmp_path / "nav"), "--floor", "--gps"])
    assert isinstance(done.exception, ConfigError)
    assert not (tmp_path / "nav").exists()

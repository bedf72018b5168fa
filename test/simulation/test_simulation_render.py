"""The renderer against exact truth: known points land where the camera model says, depths are the rays' lengths."""

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import project, rays
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3
from visloc_ros.simulation.path import PATHS
from visloc_ros.simulation.render import Renderer, sample_offsets
from visloc_ros.simulation.room import NO_QUAD, Room, make_quad
from visloc_ros.simulation.sequence import SimulationConfig

DENSITY = 200  # texels a metre
SPOT = 3.0  # standard deviation of a spot in texels
DOTS = [(0.25, 0.35), (0.5, 0.5), (0.7, 0.62), (0.35, 0.65), (0.68, 0.3)]
_Z = np.array([0.0, 0.0, 1.0])
MAP_FROM_CAMERA = SE3.from_rotation_vector([0.11, -0.16, 0.07], [0.07, -0.05, 0.1])


def dotted_quad():
    """A dark board 4 m x 3 m at depth 2.5 that faces the camera, with round bright spots at DOTS."""
    width, height = 4 * DENSITY, 3 * DENSITY
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    light = sum(np.exp(-((x - s * width) ** 2 + (y - t * height) ** 2) / (2 * SPOT**2)) for s, t in DOTS)
    texture = np.repeat(np.round(200 * np.minimum(light, 1))[..., None], 3, axis=2).astype(np.uint8)
    return make_quad("board", (0, 0, 2.5), -_Z, (0, -1, 0), (4.0, 3.0), texture)


def uniform_quad(name, depth, size, level):
    texture = np.full((round(size[1] * DENSITY), round(size[0] * DENSITY), 3), level, dtype=np.uint8)
    return make_quad(name, (0, 0, depth), -_Z, (0, -1, 0), size, texture)


def centroid(image, near, radius):
    """Intensity centroid in COLMAP pixels about a pixel position."""
    left, top = (np.floor(near) - radius).astype(int)
    patch = image[top : top + 2 * radius + 1, left : left + 2 * radius + 1, 1].astype(float)
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]]
    return np.array([(patch * (x + 0.5)).sum(), (patch * (y + 0.5)).sum()]) / patch.sum() + (left, top)


@pytest.mark.parametrize("lens", ["none", "mild", "strong", "fisheye"])
@pytest.mark.parametrize("samples", [1, 4])
def test_known_points_are_rendered_where_the_camera_projects_them(lens, samples):
    camera = SimulationConfig(lens=lens).make_camera()
    board = dotted_quad()
    image = Renderer(Room((board,)), camera, samples).render(MAP_FROM_CAMERA)
    points = board.point([s for s, _ in DOTS], [t for _, t in DOTS])
    pixels = project(camera, MAP_FROM_CAMERA.inverse @ points)
    errors = [np.linalg.norm(centroid(image, pixel, 14) - pixel) for pixel in pixels]
    # The image of a spot is not quite centred on the image of its centre (perspective), hence not zero.
    assert max(errors) < 0.05


def test_moving_a_point_by_a_quarter_pixel_moves_its_image_by_a_quarter_pixel():
    camera = SimulationConfig(lens="none").make_camera()
    renderer, near = Renderer(Room((dotted_quad(),)), camera), np.array([323.84, 236.64])
    shift = np.array([0.25, -0.25]) * 2.5 / camera.focal_length_x
    before = renderer.render(SE3.identity())
    after = renderer.render(SE3(np.eye(3), [*-shift, 0.0]))
    moved = centroid(after, near, 14) - centroid(before, near, 14)
    np.testing.assert_allclose(moved, [0.25, -0.25], atol=0.01)


@pytest.mark.parametrize("lens", ["none", "strong"])
def test_depth_is_what_the_rays_of_the_room_say(living_room, lens):
    camera = SimulationConfig(width=160, height=120, focal_px=120.0, lens=lens).make_camera()
    pose = PATHS["map"].pose(3.0)
    depth = Renderer(living_room, camera).depth(pose)
    pixels = np.stack(np.meshgrid(np.arange(0.5, 160, 3), np.arange(0.5, 120, 3)), axis=-1).reshape(-1, 2)
    directions = np.column_stack([rays(camera, pixels), np.ones(len(pixels))])
    hits = living_room.cast(pose.translation, directions @ pose.rotation.T)
    rendered = depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    assert np.all(hits.quad_rows != NO_QUAD)
    # Rays within rounding of an edge may fall on either side of it.
    agree = np.abs(rendered - hits.distances) < 1e-4 * hits.distances
    assert agree.mean() > 0.998


def test_nothing_is_black_and_infinitely_far():
    camera = SimulationConfig(lens="none").make_camera()
    renderer = Renderer(Room((uniform_quad("card", 2.0, (0.5, 0.5), 180),)), camera)
    image, depth = renderer.render(SE3.identity()), renderer.depth(SE3.identity())
    assert not np.any(image[:50])
    assert np.all(np.isinf(depth[:50]))
    np.testing.assert_allclose(depth[240, 320], 2.0, rtol=1e-6)
    np.testing.assert_allclose(image[240, 320], 180)


def test_a_camera_behind_everything_sees_nothing():
    camera = SimulationConfig(lens="none").make_camera()
    renderer = Renderer(Room((uniform_quad("card", 2.0, (0.5, 0.5), 180),)), camera)
    behind = SE3(np.eye(3), [0.0, 0.0, 3.0])
    assert not np.any(renderer.render(behind))
    assert np.all(np.isinf(renderer.depth(behind)))


def test_the_nearer_quad_hides_the_farther_one_in_any_order():
    camera = SimulationConfig(lens="mild").make_camera()
    near, far = uniform_quad("near", 1.5, (0.4, 0.4), 220), uniform_quad("far", 3.0, (6.0, 5.0), 60)
    images = [Renderer(Room(order), camera).render(SE3.identity()) for order in ((near, far), (far, near))]
    np.testing.assert_array_equal(*images)
    assert images[0][240, 320, 0] == 220
    assert images[0][20, 20, 0] == 60


def test_a_quad_that_passes_beside_and_behind_the_camera_is_cut_not_lost():
    camera = SimulationConfig(lens="none").make_camera()
    texture = np.full((400, 800, 3), 90, dtype=np.uint8)
    floor = make_quad("floor", (0.0, 1.2, 0.0), (0, -1, 0), _Z, (20.0, 40.0), texture)
    depth = Renderer(Room((floor,)), camera).depth(SE3.identity())
    row = 400
    expected = 1.2 * camera.focal_length_y / (row + 0.5 - camera.principal_point_y)
    np.testing.assert_allclose(depth[row], expected, rtol=1e-5)


def test_an_edge_takes_the_grey_of_its_coverage():
    camera = pycolmap.Camera(model="PINHOLE", width=160, height=120, params=[100, 100, 80, 60])
    card = uniform_quad("card", 1.0, (0.5, 0.5), 200)
    renderer = Renderer(Room((card,)), camera, samples=16)
    coverages = [renderer.render(SE3(np.eye(3), [-share / 100, 0, 0]))[60, 105, 0] / 200 for share in (0.25, 0.5, 0.75)]
    np.testing.assert_allclose(coverages, [0.25, 0.5, 0.75], atol=0.1)


def test_fine_texture_far_away_becomes_grey_instead_of_flickering():
    camera = SimulationConfig(lens="none").make_camera()
    checker = (np.indices((1600, 1600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    board = make_quad("board", (0, 0, 6.0), -_Z, (0, -1, 0), (2.0, 2.0), np.repeat(checker[..., None], 3, axis=2))
    image = Renderer(Room((board,)), camera).render(SE3.identity())
    inside = image[190:280, 280:360, 0]
    assert abs(inside.mean() - 127.5) < 3
    assert inside.std() < 6


def test_a_frame_barely_changes_when_the_camera_barely_moves(living_room):
    camera = SimulationConfig(width=320, height=240, focal_px=240.0).make_camera()
    renderer = Renderer(living_room, camera)
    pose = PATHS["map"].pose(2.0)
    nudged = pose @ SE3.from_rotation_vector([0.0, 0.1 / 240.0, 0.0], np.zeros(3))  # a tenth of a pixel
    change = np.abs(renderer.render(nudged) - renderer.render(pose)).mean()
    assert 0 < change < 3.0


def test_motion_during_the_exposure_smears_symmetrically():
    camera = SimulationConfig(lens="none").make_camera()
    renderer, near = Renderer(Room((dotted_quad(),)), camera), np.array([323.84, 236.64])
    poses = [SE3(np.eye(3), [0.02 * ((i + 0.5) / 8 - 0.5), 0.0, 0.0]) for i in range(8)]
    sharp, smeared = renderer.render(SE3.identity()), renderer.render_exposure(poses)
    np.testing.assert_allclose(centroid(smeared, near, 24), centroid(sharp, near, 24), atol=0.03)
    assert smeared.max() < 0.97 * sharp.max()


def test_samples_are_spread_evenly_about_the_pixel_centre():
    offsets = sample_offsets(16)
    np.testing.assert_allclose(offsets.mean(axis=0), 0, atol=1e-12)
    assert np.all(np.abs(offsets) < 0.6)
    counts, _, _ = np.histogram2d(*offsets.T, bins=2, range=[[-0.55, 0.55]] * 2)
    assert counts.min() >= 3


@pytest.mark.parametrize(
    ("model", "params"),
    [("OPENCV", [25, 25, 40, 30, -2.0, 0, 0, 0]), ("OPENCV_FISHEYE", [12, 12, 40, 30, 0, 0, 0, 0])],
)
def test_a_lens_whose_corners_see_nothing_in_front_is_refused(model, params):
    camera = pycolmap.Camera(model=model, width=80, height=60, params=params)
    with pytest.raises(CalibrationError, match="longer focal length"):
        Renderer(Room((dotted_quad(),)), camera)


@pytest.mark.parametrize(("count", "limit"), [(4, 0.5), (8, 0.15), (16, 0.1)])
def test_samples_do_not_drift_over_the_exposure(count, limit):
    x, y = sample_offsets(count).T
    assert abs(np.corrcoef(x, np.arange(count))[0, 1]) < limit
    assert abs(np.corrcoef(y, np.arange(count))[0, 1]) < limit

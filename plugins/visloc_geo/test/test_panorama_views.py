"""Views cut from panoramas that are drawn exactly: lights at known places around the camera."""

import cv2
import numpy as np
import pytest

from visloc_geo.orientation import rotation_of
from visloc_geo.panoramas import CutConfig, cut_views
from visloc_geo.view import Orientation, View
from visloc_ros.core.camera import project
from visloc_ros.core.errors import ConfigError, GeoError
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.sources.measurements import GeoPosition
from visloc_ros.sources.panorama import PanoramaTags, read_panorama_tags

FRAME = EnuFrame(55.7, 13.2, 0.0)
SPOT_DEG = 0.8
CONFIG = CutConfig(n_directions=7, fov=80.0, size=300)


def lights(count, seed):
    """Unit vectors (N, 3) east, north, up, not too near to each other, to the zenith or to the nadir."""
    rng = np.random.default_rng(seed)
    chosen = []
    while len(chosen) < count:
        one = rng.normal(size=3)
        one /= np.linalg.norm(one)
        if abs(one[2]) < 0.6 and all(one @ other < np.cos(np.radians(8.0)) for other in chosen):
            chosen.append(one)
    return np.array(chosen)


def drawn(directions, seen):
    """The image of lights in directions (N, 3), each a Gaussian spot, whose pixels see the unit vectors (H, W, 3)."""
    image = np.zeros(seen.shape[:2])
    for one in directions.astype(np.float32):
        image += 255.0 * np.exp((seen @ one - 1.0) / np.radians(SPOT_DEG) ** 2)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def drawn_panorama(directions, enu_from_panorama, height):
    rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(2 * height) + 0.5, indexing="ij")
    right, up = (columns / height - 1.0) * np.pi, (0.5 - rows / height) * np.pi
    seen = np.stack([np.cos(up) * np.sin(right), -np.sin(up), np.cos(up) * np.cos(right)], axis=-1)
    return drawn(directions @ enu_from_panorama, seen.astype(np.float32))


def drawn_view(directions, camera, enu_from_camera):
    rows, columns = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    (focal, _, x, y) = camera.params
    seen = np.stack([(columns - x) / focal, (rows - y) / focal, np.ones(rows.shape)], axis=-1)
    return drawn(directions @ enu_from_camera, seen / np.linalg.norm(seen, axis=-1, keepdims=True))


def spot_near(image, pixel):
    """The centre of the light near a pixel, in COLMAP pixels."""
    x, y = (int(value) for value in pixel)
    patch = image[y - 8 : y + 9, x - 8 : x + 9].astype(float)
    ys, xs = np.mgrid[y - 8 : y + 9, x - 8 : x + 9] + 0.5
    return np.array([(patch * xs).sum(), (patch * ys).sum()]) / patch.sum()


@pytest.mark.parametrize(
    ("centre", "height"),
    [(Orientation(0.0), 800), (Orientation(200.0), 300), (Orientation(75.0, 6.0, -9.0), 500)],
)
def test_points_of_the_world_are_where_metadata_say(centre, height):
    directions = lights(30, 4)
    panorama = View("p", GeoPosition(55.7, 13.2, 0.0), centre)
    image = drawn_panorama(directions, rotation_of(centre.heading_deg, centre.pitch_deg, centre.roll_deg), height)
    errors = []
    for view, cut in cut_views(panorama, image, CONFIG):
        enu_from_camera = view.enu_from_camera(FRAME).rotation
        exact = drawn_view(directions, view.camera, enu_from_camera)
        assert np.abs(exact.astype(float) - cut).mean() < 0.2
        pixels = project(view.camera, directions @ enu_from_camera)
        inside = np.all((pixels > 12) & (pixels < CONFIG.size - 12), axis=1)
        errors += [np.linalg.norm(spot_near(cut, pixel) - spot_near(exact, pixel)) for pixel in pixels[inside]]
    assert len(errors) > 25
    assert max(errors) < 0.1


def test_headings_and_names_where_360_is_not_divisible():
    panorama = View("p", GeoPosition(55.7, 13.2), Orientation(10.0, sigma_deg=3.0))
    views = [view for view, _ in cut_views(panorama, np.zeros((64, 128, 3), np.uint8), CONFIG)]
    assert [view.orientation.heading_deg for view in views] == pytest.approx([index * 360 / 7 for index in range(7)])
    assert [view.name for view in views[:2]] == ["p_0", "p_51.43"]
    assert {(view.panorama, view.orientation.sigma_deg, view.orientation.pitch_deg) for view in views} == {
        ("p", 3.0, 0.0)
    }
    assert views[0].camera.focal_length_x == pytest.approx(150.0 / np.tan(np.radians(40.0)))


def test_views_of_a_panorama_without_a_heading_have_none():
    panorama = View("p", GeoPosition(55.7, 13.2))
    assert {view.orientation for view, _ in cut_views(panorama, np.zeros((64, 128), np.uint8), CONFIG)} == {None}


def test_an_image_that_is_no_panorama_is_refused():
    with pytest.raises(GeoError, match="twice as wide"):
        next(cut_views(View("p"), np.zeros((64, 100), np.uint8), CONFIG))
    with pytest.raises(ConfigError, match="fov"):
        CutConfig(fov=180.0)


GPANO = b'<rdf:Description GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="-90.5" %s/>'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GPANO % b'GPano:PosePitchDegrees="2" GPano:PoseRollDegrees="-1e0"', PanoramaTags(269.5, 2.0, -1.0)),
        (b"<GPano:ProjectionType>equirectangular</GPano:ProjectionType>", PanoramaTags()),
        (GPANO.replace(b"-90.5", b"-9-5") % b"", PanoramaTags()),
        (
            GPANO % b'GPano:CroppedAreaImageWidthPixels="80" GPano:FullPanoWidthPixels="100"',
            PanoramaTags(269.5, is_whole=False),
        ),
        (GPANO % b'GPano:CroppedAreaImageHeightPixels="50" GPano:FullPanoHeightPixels="50"', PanoramaTags(269.5)),
        (GPANO.replace(b"equirectangular", b"cylindrical") % b"", None),
        (b"", None),
    ],
)
def test_what_xmp_data_say_of_a_panorama(data, expected):
    assert read_panorama_tags(cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()[:2] + data) == expected

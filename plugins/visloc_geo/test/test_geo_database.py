import json

import numpy as np
import pytest

from visloc_geo.database import GeoDatabase
from visloc_geo.metadata import GROUND
from visloc_geo.orientation import rotation_of
from visloc_geo.view import Orientation, View
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import GeoError
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.sources.measurements import GeoPosition

CAMERA = camera_from_params("PINHOLE", 640, 480, [500.0, 501.0, 321.0, 240.0])
PLACE = GeoPosition(55.7, 13.2, 62.0, 4.0)
VIEW = View("first", PLACE, Orientation(45.0, 2.0, -1.0, 5.0), CAMERA, panorama="p1", source="photo")
MINIMAL = {"w": 640, "h": 480, "lat": 55.7, "lng": 13.2, "azn": 90.0, "fov": 90.0}


def written(database, name, values):
    folder = database.folder / name
    folder.mkdir()
    (folder / "metadata.json").write_text(json.dumps(values), encoding="utf-8")
    return database.view(name)


@pytest.fixture
def database(tmp_path):
    return GeoDatabase.create(tmp_path / "streets")


def test_a_view_is_read_as_it_was_added(database):
    database.add(VIEW, b"jpeg")
    (found,) = database
    assert (found.name, found.position, found.panorama, found.source) == ("first", PLACE, "p1", "photo")
    assert found.orientation.heading_deg == pytest.approx(45.0)
    assert (found.orientation.pitch_deg, found.orientation.roll_deg) == pytest.approx((2.0, -1.0))
    assert list(found.camera.params) == list(CAMERA.params)
    assert database.image_path("first").read_bytes() == b"jpeg"


def test_the_matrix_e_is_in_the_axes_of_an_anchor_that_looks_north(database):
    origin = EnuFrame(55.7, 13.2, 60.0)
    database = GeoDatabase.create(database.folder, origin)
    lat, lng, alt = origin.to_geodetic([[30.0, 40.0, 5.0]])[0]
    database.add(View("east", GeoPosition(lat, lng, alt), Orientation(90.0), CAMERA))
    values = json.loads((database.folder / "east" / "metadata.json").read_text())
    camera_from_anchor = np.array(values["E"])
    centre = -camera_from_anchor[:3, :3].T @ camera_from_anchor[:3, 3]
    assert centre == pytest.approx([30.0, -5.0, 40.0], abs=1e-6)
    assert camera_from_anchor[:3, :3] @ [0.0, 0.0, 1.0] == pytest.approx([-1.0, 0.0, 0.0])  # north is on its left


def test_a_view_that_has_only_e_and_its_anchor_gets_its_position_by_them(database):
    anchor = EnuFrame(55.7, 13.2, 10.0)
    enu_from_camera = VIEW.enu_from_camera(anchor)
    enu_from_anchor = np.eye(4)
    enu_from_anchor[:3, :3] = rotation_of(30.0)
    matrix = np.linalg.inv(enu_from_camera.matrix) @ enu_from_anchor
    base = {"baselat": 55.7, "baselng": 13.2, "basealt": 10.0, "baseazn": 30.0}
    found = written(database, "by_e", {"w": 640, "h": 480, "fov": 60.0, "E": matrix.tolist(), **base})
    assert found.enu_from_camera(anchor).is_close(enu_from_camera, 1e-6, 1e-6)


def test_a_field_of_view_is_that_of_the_longer_side(database):
    assert written(database, "wide", MINIMAL).camera.params == pytest.approx([320.0, 320.0, 320.0, 240.0])
    assert written(database, "high", {**MINIMAL, "w": 480, "h": 640}).camera.params[0] == pytest.approx(320.0)


def test_the_height_of_the_camera_is_added_to_that_of_the_ground(database):
    values = {**MINIMAL, "alt": 50.0, "alt_source": GROUND, "camera_height": 2.5}
    view = written(database, "ground", values)
    assert view.position.altitude == 52.5
    database.update(view)
    assert json.loads((database.folder / "ground" / "metadata.json").read_text())["alt"] == 50.0


def test_keys_of_others_are_kept(database):
    view = written(database, "others", {**MINIMAL, "weather": {"rain": True}})
    database.update(view)
    assert json.loads((database.folder / "others" / "metadata.json").read_text())["weather"] == {"rain": True}


def test_views_without_altitude_heading_camera_or_position_can_be_used(database):
    assert written(database, "no_altitude", MINIMAL).enu_from_camera(EnuFrame(55.7, 13.2, 9.0)).translation[
        2
    ] == pytest.approx(0.0)
    place = written(database, "place", {"lat": 55.7, "lng": 13.2, "pano": "x"})
    assert (place.camera, place.orientation, place.enu_from_camera(EnuFrame(0.0, 0.0))) == (None, None, None)
    assert written(database, "nothing", {"lat": None, "lng": None}).position is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lat": 91.0}, "latitude"),
        ({"lat": "north"}, "'lat' is 'north'"),
        ({"pose_sigma_m": 0.0}, "'pose_sigma_m' is 0, .*above 0"),
        ({"azn_sigma_deg": -1.0}, "'azn_sigma_deg' is -1"),
        ({"azn": True}, "'azn' is True"),
        ({"fov": 180.0}, "field of view"),
        ({"w": 0}, "not positive"),
        ({"K": [[1, 2], [3, 4]]}, "'K'"),
        ({"K": [[500, 0, 320], [0, "a", 240], [0, 0, 1]]}, "'K'"),
        ({"distortion": [0.1, 0, 0, 0, 0.1]}, "distortion"),
        ({"schema": 99}, "schema 99"),
        ({"E": np.diag([1.0, 1.0, -1.0, 1.0]).tolist(), "baselat": 55.7, "baselng": 13.2}, "mirrors"),
        ({"E": np.eye(4).tolist(), "baselat": 55.8, "baselng": 13.2}, "leave one of them out"),
    ],
)
def test_metadata_that_cannot_be_right_are_refused_with_the_reason(database, change, words):
    with pytest.raises(GeoError, match=words):
        written(database, "wrong", {**MINIMAL, **change})


def test_not_a_number_is_refused(database):
    folder = database.folder / "nan"
    folder.mkdir()
    (folder / "metadata.json").write_text('{"lat": NaN, "lng": 13.2}', encoding="utf-8")
    with pytest.raises(GeoError, match="no finite number"):
        database.view("nan")


@pytest.mark.parametrize("name", ["..", "", "a/b", "/etc"])
def test_no_name_leads_out_of_the_database(database, name):
    with pytest.raises(GeoError, match="leads out"):
        database.add(View(name, PLACE))


def test_a_missing_database_says_how_to_make_one(tmp_path):
    with pytest.raises(GeoError, match="visloc geo add"):
        GeoDatabase(tmp_path / "none")

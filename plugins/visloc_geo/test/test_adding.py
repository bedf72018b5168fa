"""Photos that become views: written by Pillow with exactly known tags."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.ExifTags import GPS, IFD, Base
from source_data import colour_image, shared_data
from typer.testing import CliRunner

from visloc_geo.adding import AddOptions, add_photos
from visloc_geo.database import GeoDatabase
from visloc_geo.panoramas import CutConfig
from visloc_geo.photo_list import ListedPhoto
from visloc_geo.view import Orientation
from visloc_ros.apps.cli import app
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import GeoError
from visloc_ros.sources.measurements import GeoPosition

LUND = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (55, 42, 0.0),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (13, 12, 0),
}
LUND |= {GPS.GPSImgDirectionRef: "T", GPS.GPSImgDirection: 84.0, GPS.GPSAltitude: 3.0, GPS.GPSAltitudeRef: b"\x01"}
FOCAL_MM = 26
HEIC = Path(__file__).parents[3] / "test" / "data" / "phone_portrait.heic"
GPANO = (
    b'<x:xmpmeta><rdf:Description GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="30"/></x:xmpmeta>'
)


def write_photo(path, gps=LUND, orientation=1, seed=0, size=(160, 120), **options):
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    exif.get_ifd(IFD.GPSInfo).update(gps)
    exif.get_ifd(IFD.Exif)[Base.FocalLengthIn35mmFilm] = FOCAL_MM
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colour_image(seed, *size)).save(path, exif=exif, quality=95, **options)
    return path


@pytest.fixture
def database(tmp_path):
    return GeoDatabase.create(tmp_path / "streets")


def pixels(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_a_photo_becomes_a_view_with_its_tags(database, tmp_path):
    photo = write_photo(tmp_path / "photos" / "IMG_1.jpg", LUND | {GPS.GPSHPositioningError: 4.0})
    assert add_photos(database, [photo]).added == ["IMG_1"]
    view = database.view("IMG_1")
    assert view.position == GeoPosition(55.7, 13.2, -3.0, 4.0)
    assert (view.orientation.heading_deg, view.orientation.sigma_deg) == pytest.approx((84.0, 10.0))
    assert view.camera.focal_length_x == pytest.approx(FOCAL_MM / 43.27 * 200)
    assert (view.source, view.others["intrinsics"], view.others["focal_sigma"]) == ("photo", "exif", 0.04)
    assert database.image_path("IMG_1").read_bytes() == photo.read_bytes()


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_image_is_stored_upright_and_turned_once(database, tmp_path, orientation, suffix):
    photo = write_photo(tmp_path / f"a{suffix}", orientation=orientation)
    add_photos(database, [photo])
    shown = np.asarray(ImageOps.exif_transpose(Image.open(photo)))
    stored = Image.open(database.image_path("a"))
    assert ImageOps.exif_transpose(stored).size == stored.size == shown.shape[1::-1]
    assert np.abs(np.asarray(stored).astype(int) - shown).mean() < 2.0
    camera = database.view("a").camera
    assert (camera.width, camera.height) == stored.size
    assert list(camera.params[2:]) == [camera.width / 2, camera.height / 2]


def test_portrait_and_landscape_photos_of_one_phone_have_the_same_focal_length(database, tmp_path):
    write_photo(tmp_path / "photos" / "landscape.jpg")
    write_photo(tmp_path / "photos" / "portrait.jpg", orientation=6, seed=1)
    add_photos(database, [tmp_path / "photos"])
    landscape, portrait = database
    assert (landscape.camera.width, landscape.camera.height) == (160, 120)
    assert (portrait.camera.width, portrait.camera.height) == (120, 160)
    assert landscape.camera.focal_length_x == portrait.camera.focal_length_y == pytest.approx(FOCAL_MM / 43.27 * 200)


def test_a_heic_photo_becomes_a_jpeg(database, tmp_path):
    shutil.copy(HEIC, tmp_path / "IMG_2.HEIC")
    assert add_photos(database, [tmp_path / "IMG_2.HEIC"]).added == ["IMG_2"]
    view = database.view("IMG_2")
    assert pixels(database.image_path("IMG_2")).shape == (view.camera.height, view.camera.width, 3) == (256, 192, 3)


def test_adding_again_adds_what_is_new(database, tmp_path):
    write_photo(tmp_path / "photos" / "a.jpg")
    shutil.copy(tmp_path / "photos" / "a.jpg", tmp_path / "photos" / "copy.jpg")
    write_photo(tmp_path / "photos" / "trip" / "a.jpg", seed=1)
    first = add_photos(database, [tmp_path / "photos"])
    assert (first.added[0], len(first.added), first.num_known) == ("a", 2, 1)
    assert first.added[1].startswith("a-")  # another photo of the same name
    before = {path: path.stat().st_mtime_ns for path in database.folder.rglob("*")}
    again = add_photos(database, [tmp_path / "photos"])
    assert (again.added, again.num_known, again.left_out) == ([], 3, {})
    assert {path: path.stat().st_mtime_ns for path in database.folder.rglob("*")} == before
    write_photo(tmp_path / "photos" / "b.jpg", seed=2)
    assert add_photos(database, [tmp_path / "photos"]).added == ["b"]


def test_a_photo_that_comes_again_with_another_position_gets_that_one(database, tmp_path):
    photo = write_photo(tmp_path / "a.jpg")
    add_photos(database, [photo])
    database.update(replace(database.view("a"), others={**database.view("a").others, "tag": [55.0, 13.0, None, None]}))
    moved = write_photo(tmp_path / "new" / "a.jpg", LUND | {GPS.GPSLatitude: (55, 43, 0.0)})
    report = add_photos(database, [moved])
    assert (report.added, report.corrected, database.names) == ([], ["a"], ["a"])
    view = database.view("a")
    assert view.position.latitude == pytest.approx(55 + 43 / 60)
    assert not view.is_registered
    listed = {"a.jpg": ListedPhoto(GeoPosition(55.9, 13.2, 4.0, 2.0))}
    assert add_photos(database, [photo], AddOptions(listed)).corrected == ["a"]
    assert database.view("a").position == listed["a.jpg"].position
    assert database.view("a").orientation.heading_deg == pytest.approx(84.0)
    again = add_photos(database, [photo], AddOptions(listed))
    assert (again.corrected, again.num_known) == ([], 1)


def test_a_photo_of_the_year_9999_stops_no_other_one(database, tmp_path):
    future = LUND | {GPS.GPSImgDirectionRef: "M", GPS.GPSDateStamp: "9999:12:31", GPS.GPSTimeStamp: (23, 59, 60)}
    write_photo(tmp_path / "photos" / "a.jpg", future)
    write_photo(tmp_path / "photos" / "b.jpg", future | {GPS.GPSTimeStamp: (23, 59, 59)}, seed=1)
    write_photo(tmp_path / "photos" / "c.jpg", seed=2)
    assert sorted(add_photos(database, [tmp_path / "photos"]).added) == ["a", "b", "c"]


def test_removed_views_are_gone(database, tmp_path):
    add_photos(database, [write_photo(tmp_path / f"{name}.jpg", seed=seed) for seed, name in enumerate("abc")])
    wrong = CliRunner().invoke(app, ["geo", "remove", str(database.folder), "a", "nobody"])
    assert isinstance(wrong.exception, GeoError)
    assert database.names == ["a", "b", "c"]
    CliRunner().invoke(app, ["geo", "remove", str(database.folder), "a", "c"], catch_exceptions=False)
    assert database.names == ["b"]
    assert not (database.folder / "a").exists()


def test_each_photo_left_out_has_its_reason_and_the_others_are_added(database, tmp_path):
    folder = tmp_path / "photos"
    write_photo(folder / "good.jpg")
    write_photo(folder / "lost.jpg", {}, seed=1)
    (folder / "broken.jpg").write_bytes(write_photo(folder / "whole.jpg", seed=2).read_bytes()[:900])
    report = add_photos(database, [folder, tmp_path / "none.jpg"])
    assert sorted(report.added) == ["good", "whole"]
    reasons = {Path(path).name: reason for path, reason in report.left_out.items()}
    assert "--list" in reasons["lost.jpg"]
    assert "truncated" in reasons["broken.jpg"]
    assert "missing" in reasons["none.jpg"]


def test_a_list_says_where_photos_without_tags_were_taken(database, tmp_path):
    write_photo(tmp_path / "run" / "cam" / "000.jpg", {})
    write_photo(tmp_path / "run" / "001.jpg", seed=1)
    camera = camera_from_params("OPENCV", 160, 120, [150, 151, 80, 60, -0.1, 0.01, 0.0, 0.0])
    listed = {
        "cam/000.jpg": ListedPhoto(GeoPosition(10.0, 20.0, 5.0), Orientation(200.0, 2.0, 1.0)),
        "001": ListedPhoto(GeoPosition(-10.0, -20.0)),
        "002.jpg": ListedPhoto(GeoPosition(0.0, 1.0)),
    }
    report = add_photos(database, [tmp_path / "run"], AddOptions(listed, camera))
    assert sorted(report.added) == ["000", "001"]
    assert "no such photo" in report.left_out["002.jpg"]
    first, second = database
    assert (first.position.altitude, first.orientation.roll_deg) == (5.0, pytest.approx(1.0))
    assert (second.position.latitude, second.orientation.heading_deg) == (-10.0, pytest.approx(84.0))  # by its compass
    assert list(first.camera.params) == list(camera.params)
    assert (first.others["intrinsics"], first.others["focal_sigma"]) == ("given", 0.0)


def test_a_panorama_becomes_views_all_around(database, tmp_path):
    photo = write_photo(tmp_path / "pano.jpg", size=(400, 200), xmp=GPANO)
    options = AddOptions(cut=CutConfig(n_directions=4, size=100))
    assert add_photos(database, [photo], options).added == ["pano_0", "pano_90", "pano_180", "pano_270"]
    view = database.view("pano_90")
    assert (view.panorama, view.orientation.heading_deg) == (
        "pano",
        pytest.approx(90.0),
    )  # its XMP data before its compass
    assert (view.camera.width, view.camera.focal_length_x) == (100, pytest.approx(50.0))
    middle = pixels(database.image_path("pano_90"))[50, 50].astype(int)
    assert np.abs(middle - np.asarray(Image.open(photo))[100, 200 + round(60 / 360 * 400)]).max() < 12
    shutil.rmtree(database.entry("pano_90"))  # as where it was interrupted
    assert add_photos(database, [photo], options).added == ["pano_90"]


def test_a_panorama_that_does_not_say_so_is_cut_where_the_option_says_it(database, tmp_path):
    photo = write_photo(tmp_path / "pano.png", size=(400, 200))
    around = np.concatenate([colour_image(0, 200, 200), colour_image(0, 200, 200)[:, ::-1]], axis=1)
    around[0], around[-1] = 90, 130  # the poles are a point each
    exif = Image.open(photo).getexif()
    Image.fromarray(around).save(tmp_path / "around.png", exif=exif)
    assert "--panoramas" in add_photos(database, [tmp_path / "around.png"]).left_out[str(tmp_path / "around.png")]
    report = add_photos(database, [photo], AddOptions(are_panoramas=True, cut=CutConfig(n_directions=2, size=100)))
    assert report.added == ["pano_0", "pano_180"]
    wrong = add_photos(database, [write_photo(tmp_path / "b.jpg", seed=1)], AddOptions(are_panoramas=True))
    assert "twice as wide" in wrong.left_out[str(tmp_path / "b.jpg")]


def test_the_database_is_no_folder_of_photos(database, tmp_path):
    with pytest.raises(GeoError, match="folder of its own"):
        add_photos(database, [database.folder])
    write_photo(tmp_path / "a.jpg")
    add_photos(database, [tmp_path])
    assert add_photos(database, [tmp_path]).num_known == 1  # the views in the database below are no photos


def test_a_real_street_becomes_a_database(database):
    report = add_photos(database, [shared_data("street_lund")])
    assert (len(report.added), report.left_out) == (22, {})
    assert {view.others["intrinsics"] for view in database} == {"exif"}
    assert database.view("01").camera.focal_length_x == pytest.approx(35 / 43.27 * 1280, rel=1e-3)


def test_the_command_makes_a_database_ready_for_queries(tmp_path):
    write_photo(tmp_path / "photos" / "a.jpg", size=(320, 240))
    write_photo(tmp_path / "photos" / "b.jpg", {}, seed=1)
    words = ["geo", "add", str(tmp_path / "streets"), str(tmp_path / "photos"), "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    values = json.loads(result.stdout)
    assert (values["added"], values["num_views"], len(values["left_out"])) == (["a"], 1, 1)
    assert sorted(os.listdir(tmp_path / "streets" / "a")) == [
        "image.jpg",
        "keypoints.npz",
        "metadata.json",
        "vlad_descriptor.npy",
    ]


def test_the_command_fails_where_nothing_is_added(tmp_path):
    write_photo(tmp_path / "b.jpg", {})
    words = ["geo", "add", str(tmp_path / "streets"), str(tmp_path / "b.jpg"), "--no-features"]
    assert isinstance(CliRunner().invoke(app, words).exception, GeoError)

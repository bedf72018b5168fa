"""Consecutive photos located together, on the command line: rendered ones, and films of numbered frames."""

import json
import re

import cv2
import numpy as np
import pytest
from PIL import Image
from street_walk import POSES
from tagged_street import CAMERA, FEW_VIEWS, FakeDescriber, Street, make_database
from typer.testing import CliRunner

from visloc_geo.apps.photos import open_photos
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.orientation import rotation_of
from visloc_ros.apps.cli import app
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.sources import SourceConfig

STREET = Street.at(0.0, 0.0, 1)
ALONG = [SE3(rotation_of(4.0 + step), np.array([0.5, 20.0 + step, 0.0])) for step in range(4)]
FPS = 5


def visloc(*words):
    return CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)


def lines_of(page):
    data = json.loads(re.search(r"^const data = (.+);$", page.read_text(encoding="utf-8"), re.MULTILINE)[1])
    return data["lines"]


def errors_m(poses, truth):
    at = np.array([pose["enu_position"] for pose in poses])
    return np.linalg.norm(at - [pose.translation for pose in truth], axis=1)


def test_photos_of_a_walk_whose_focal_length_is_not_known_are_located_together(street_walk, tmp_path):
    photos, page = street_walk / "photos", tmp_path / "map.html"
    (tmp_path / "conf.yaml").write_text("k: 3")
    words = (*sorted(photos.iterdir()), "--together", "--config", tmp_path / "conf.yaml", "--map", page, "--json")
    figures = json.loads(visloc("geo", "locate", street_walk / "views", *words).stdout)
    names = [f"step{number}.jpg" for number in (8, 9, 10)]
    assert [one["name"] for one in figures["answers"]] == names
    track = figures["tracks"]["photos"]
    assert [one["name"] for one in track["poses"]] == names
    assert (track["success"], track["photos"], track["by_own_answers"]) == (True, 3, 3)
    errors, sigmas = errors_m(track["poses"], POSES), [one["horizontal_sigma_m"] for one in track["poses"]]
    assert errors.max() < 0.6  # taken for exact, the guess of the focal length puts them 8 m off
    assert (errors < 4.0 * np.array(sigmas)).all()
    assert all(abs(one["heading_deg"] - 78.0 - 3.0 * step) < 1.0 for step, one in enumerate(track["poses"]))
    assert {one["camera"]["source"] for one in figures["answers"]} == {"estimated"}
    (line,) = lines_of(page)
    assert line["points"] == [pytest.approx([one["latitude"], one["longitude"]]) for one in track["poses"]]


class NumberedFrames(FakeDescriber):
    """Gives the features of the frame whose number is its brightness; frames without one show little."""

    def describe(self, image):
        number = round(float(image.mean()) / 8.0)
        return super().describe(np.full((1, 1), number, np.uint8))


@pytest.fixture
def streets(tmp_path, monkeypatch):
    """The folder of a database, among which the command finds numbered frames; five of them are a step."""
    blank = STREET.seen_from(ALONG[0]).take(np.arange(10))
    steps = [one for row, pose in enumerate(ALONG) for one in (STREET.seen_from(pose, row), *[blank] * (FPS - 1))]

    def localizer(database, *_):
        return GeoLocalizer(database, FEW_VIEWS, describer=NumberedFrames(steps), matcher=NearestMatcher(0.5))

    monkeypatch.setattr("visloc_geo.apps.command_locate.GeoLocalizer", localizer)
    width, height = CAMERA.width, CAMERA.height
    (tmp_path / "camera.txt").write_text(f"1 PINHOLE {width} {height} {' '.join(map(str, CAMERA.params))}")
    return make_database(tmp_path / "streets", [STREET]).folder


def write_film(path, numbers):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (CAMERA.width, CAMERA.height))
    for number in numbers:
        writer.write(np.full((CAMERA.height, CAMERA.width, 3), 8 * number, np.uint8))
    writer.release()
    return path


def write_photo(path, number, time=None):
    exif = Image.Exif()
    if time is not None:
        exif.get_ifd(0x8769)[0x9003] = time
    Image.new("L", (CAMERA.width, CAMERA.height), 8 * number).save(path, exif=exif)


def test_a_frame_of_each_second_of_a_film_is_located_together_with_the_others(streets, tmp_path):
    film = write_film(tmp_path / "walk.mp4", range(len(ALONG) * FPS))
    shown = visloc("geo", "locate", streets, film, "--camera", tmp_path / "camera.txt", "--json")
    figures = json.loads(shown.stdout)
    track = figures["tracks"]["walk"]
    assert [one["stamp_ns"] for one in track["poses"]] == [10**9 * step for step in range(len(ALONG))]
    assert errors_m(track["poses"], ALONG).max() < 0.2
    assert "track of walk: 4 photos, 4 of them by their own answers" in shown.stderr
    assert shown.stderr.count("by its own answer") == 4


def test_a_photo_without_an_answer_gets_a_pose_by_the_others(streets, tmp_path, monkeypatch):
    monkeypatch.setattr("visloc_geo.localizer._MIN_FEATURES", 150)  # of the last photo, which joins the others
    seen = [STREET.seen_from(pose, row) for row, pose in enumerate(ALONG)]
    steps = [*seen[:3], seen[3].take(np.arange(140))]
    monkeypatch.setattr(NumberedFrames, "describe", lambda self, image: FakeDescriber(steps).describe(image // 8))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(len(ALONG)):
        write_photo(folder / f"{'cadb'[number]}.jpg", number, f"2026:05:04 10:00:0{number}")
    words = (folder, "--together", "--camera", tmp_path / "camera.txt", "--json")
    shown = visloc("geo", "locate", streets, *words)
    figures = json.loads(shown.stdout)
    assert [one["name"][0] for one in figures["answers"]] == list("cadb")  # by time, not by name
    poses = figures["tracks"]["photos"]["poses"]
    assert (figures["located"], [one["has_answer"] for one in poses]) == (3, [True] * 3 + [False])
    assert errors_m(poses, ALONG).max() < 0.2
    assert "b.jpg  FEW_FEATURES" in shown.stderr
    assert "by the others" in shown.stderr


def test_single_answers_remain_where_there_is_no_track(streets, tmp_path):
    film = write_film(tmp_path / "two.mp4", range(2 * FPS))
    shown = visloc("geo", "locate", streets, film, "--camera", tmp_path / "camera.txt", "--map", tmp_path / "a.html")
    assert "located 2 of 2 photos" in shown.stdout
    assert "no track of two: NO_ODOMETRY (photos 2): consecutive photos show too little" in shown.stdout
    assert lines_of(tmp_path / "a.html") == []
    figures = json.loads(visloc("geo", "locate", streets, film, "--max-frames", 1, "--json").stdout)
    assert (figures["located"], figures["tracks"]["two"]["reason"]) == (1, "NO_ODOMETRY")


def test_photos_are_single_unless_they_are_together(tmp_path, monkeypatch):
    for number in (9, 10, 11):
        write_photo(tmp_path / f"{number}.png", number)
    paths = [tmp_path / "11.png", tmp_path / "9.png", tmp_path / "10.png"]
    config = SourceConfig()
    assert [(len(one), one.walk) for one in open_photos(paths, config, are_together=False)] == [(1, "")] * 3
    (walk,) = open_photos(paths, config, are_together=True)
    assert ([frame.name for frame, _ in walk], walk.walk) == (["9.png", "10.png", "11.png"], "photos")
    monkeypatch.setattr("visloc_geo.apps.photos.MOST_PHOTOS", 2)
    with pytest.raises(ConfigError, match="3 photos are too many"):
        open_photos(paths, config, are_together=True)


def test_the_frames_of_a_film_are_those_that_options_name(tmp_path):
    film = write_film(tmp_path / "film.mp4", range(10))
    for config, count in ((SourceConfig(), 2), (SourceConfig(every=2), 5), (SourceConfig(fps=5.0), 10)):
        (one,) = open_photos([film], config, are_together=False)
        assert (len(one), one.is_film, one.walk) == (count, True, "film")

"""``visloc geo coverage`` reports where photos can be located."""

import json

import pycolmap
import pytest
from visloc_command import visloc

from visloc_geo.database import GeoDatabase
from visloc_geo.view import Orientation, View
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.sources.measurements import GeoPosition


@pytest.fixture
def streets(tmp_path):
    """Two panoramas, 15 m from each other."""
    origin = EnuFrame(55.7, 13.2, 40.0)
    database = GeoDatabase.create(tmp_path / "streets", origin)
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=640, params=[320.0, 320.0, 320.0, 320.0])
    for east in (0.0, 15.0):
        at = GeoPosition(*(float(value) for value in origin.to_geodetic([east, 0.0, 0.0])[0]))
        for heading in range(0, 360, 45):
            database.add(View(f"{east:g}_{heading}", at, Orientation(heading), camera))
    return database.folder


def test_a_database_is_described_in_words_in_json_as_a_page_and_as_a_picture(tmp_path, streets):
    finished = visloc("geo", "coverage", streets, "-o", tmp_path / "page.html", "--json")
    values = json.loads(finished.stdout)
    assert 0.0 < values["recall"] < 1.0
    cell = min(values["cells"], key=lambda one: abs(one["x"] - 7.5) + abs(one["y"] - 2.5))
    assert (cell["latitude"], cell["longitude"]) == pytest.approx((55.7, 13.2), abs=3e-4)
    page = (tmp_path / "page.html").read_text()
    assert page.count('"number": ') == len(values["cells"])
    assert "100% of photos located" in page
    shown = visloc("geo", "coverage", streets, "-o", tmp_path / "picture.png").stdout
    assert "of images are expected to be localized" in shown
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")

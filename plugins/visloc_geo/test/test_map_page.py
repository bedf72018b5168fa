import json
import re

import numpy as np
import pytest

from visloc_geo.map_page import Ellipse, Kind, Line, Marker, Square, write_map_page
from visloc_ros.core.errors import GeoError
from visloc_ros.core.wgs84 import EnuFrame

PLACES = [Marker(55.7 + 0.0001 * row, 13.2, f"view {row}") for row in range(29)]


def page_of(tmp_path, *parts, **options):
    path = tmp_path / "map.html"
    write_map_page(path, *parts, **options)
    return path.read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r"^const data = (.+);$", page, re.MULTILINE)[1])


def test_every_place_gets_a_marker_with_its_words(tmp_path):
    markers = data_of(page_of(tmp_path, PLACES))["markers"]
    assert [(one["at"], one["lines"]) for one in markers] == [
        ([place.latitude, place.longitude], [place.text]) for place in PLACES
    ]


def test_the_page_loads_nothing_unless_tiles_are_wanted(tmp_path):
    offline, online = page_of(tmp_path, PLACES), page_of(tmp_path, PLACES, tiles=True)
    assert "openstreetmap" not in offline
    assert not re.search(r"<(script|img|link)[^>]*(src|href)=", offline)
    assert "tile.openstreetmap.org" in online
    assert "openstreetmap.org/copyright" in online


def test_words_of_others_become_no_part_of_the_page(tmp_path):
    words = "</script><script>alert(1)</script>"
    page = page_of(tmp_path, [Marker(55.7, 13.2, words)], title=words)
    assert "<script>alert" not in page
    assert data_of(page)["markers"][0]["lines"] == [words]


def test_an_ellipse_reaches_two_sigma_along_each_axis(tmp_path):
    covariance = np.diag([9.0, 1.0])
    (ellipse,) = data_of(page_of(tmp_path, [], ellipses=[Ellipse(60.0, 10.0, covariance)]))["ellipses"]
    points = np.column_stack([ellipse["points"], np.zeros(len(ellipse["points"]))])
    east, north, _ = EnuFrame(60.0, 10.0).from_geodetic(points).T
    assert (east.max(), north.max()) == pytest.approx((6.0, 2.0), rel=1e-3)


def test_a_heading_points_clockwise_from_north(tmp_path):
    (marker,) = data_of(page_of(tmp_path, [Marker(60.0, 10.0, heading_deg=90.0)]))["markers"]
    east, north, _ = EnuFrame(60.0, 10.0).from_geodetic([*marker["ahead"], 0.0])[0]
    assert (east, north) == pytest.approx((8.0, 0.0), abs=1e-3)


@pytest.mark.parametrize("places", [[], [Marker(float("nan"), 13.2)]])
def test_what_cannot_be_drawn_is_an_error(tmp_path, places):
    with pytest.raises(GeoError):
        page_of(tmp_path, places)
    assert not (tmp_path / "map.html").exists()


def test_a_browser_without_a_network_shows_all_of_it(tmp_path, open_browser):
    path = tmp_path / "map.html"
    line = Line([(55.7, 13.2), (55.7028, 13.2)], kind=Kind.ERROR)
    write_map_page(path, PLACES, [line], [Ellipse(55.701, 13.2, np.eye(2))])
    browser = open_browser("--host-resolver-rules=MAP * ~NOTFOUND")
    browser.get(path.as_uri())
    shown = browser.execute_script(
        "let markers = 0; map.eachLayer((layer) => { if (layer instanceof L.CircleMarker) markers++; });"
        "return [markers, data.markers.every((one) => map.getBounds().contains(one.at)),"
        " document.querySelector('.legend').innerText, map.distance(...data.lines[0].points)]"
    )
    assert shown[:2] == [29, True]
    assert Kind.ERROR.value[0] in shown[2]
    assert shown[3] == pytest.approx(311, rel=0.01)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_squares_have_their_recall_and_show_it_where_it_fits(tmp_path, open_browser):
    path = tmp_path / "map.html"
    squares = [
        Square((55.7 + 0.001 * row, 13.2), (55.701 + 0.001 * row, 13.202), 0.25 * row, "words") for row in range(5)
    ]
    write_map_page(path, [], squares=squares)
    data = data_of(path.read_text(encoding="utf-8"))
    assert [one["number"] for one in data["squares"]] == ["0", "25", "50", "75", "100"]
    assert len({one["colour"] for one in data["squares"]}) == 5
    assert ["#fde725", "100% of photos located"] in data["legend"]
    browser = open_browser("--host-resolver-rules=MAP * ~NOTFOUND")
    browser.get(path.as_uri())
    numbers = "return [...document.querySelectorAll('.number')].map((one) => [one.innerText, one.offsetWidth > 0])"
    assert browser.execute_script(numbers) == [[number, True] for number in ("0", "25", "50", "75", "100")]
    browser.execute_script("map.setZoom(11, { animate: false })")
    assert {shown for _, shown in browser.execute_script(numbers)} == {False}

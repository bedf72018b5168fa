"""Whatever stands in an answer, it ends in a view that can be stored and fetched, or in a reason."""

import json

import httpx
import pytest
from street_services import KEY, TOKEN, Network, jpeg

from visloc_geo.metadata import metadata_text
from visloc_geo.providers.base import Answer
from visloc_geo.providers.cost import Budget
from visloc_geo.providers.opening import open_elevations, open_provider
from visloc_ros.core.errors import VislocError
from visloc_ros.core.wgs84 import EnuFrame

NASTY = [None, "", "x", "a/../b", -1, 10**400, 1e300, float("nan"), float("inf"), [], [1], {}, {"username": 5}, True]
IMAGE = jpeg(640, 640)
PHOTO = {
    "id": "17",
    "geometry": {"coordinates": [10.0, 60.0]},
    "computed_geometry": {"coordinates": [10.0, 60.0]},
    "altitude": 5.0,
    "computed_altitude": 6.0,
    "compass_angle": 30.0,
    "computed_compass_angle": 30.0,
    "computed_rotation": [1.2, 0.8, -0.9],
    "camera_type": "perspective",
    "camera_parameters": [0.8, 0.0, 0.0],
    "is_pano": False,
    "exif_orientation": 1,
    "captured_at": 1_500_000_000_000,
    "sequence": "s",
    "creator": {"username": "u"},
}
KARTAVIEW = {
    "id": "17",
    "lat": "60.0",
    "lng": "10.0",
    "matchLat": "60.0",
    "matchLng": "10.0",
    "heading": "90",
    "gpsAccuracy": "5",
    "fieldOfView": "60",
    "projection": "PLANE",
    "shotDate": "2019-05-01",
    "sequence": {"username": "u"},
    "fileurlProc": "https://images.example.net/17.jpg",
}
GOOGLE = {"status": "OK", "pano_id": "p", "location": {"lat": 60.0, "lng": 10.0}, "date": "2021-07", "copyright": "©"}
REQUESTS = {
    "mapillary": "[9.99, 59.99, 10.01, 60.01]",
    "kartaview": "kartaview 60.0000000 10.0000000 500 1",
    "gsv": "google 60.0000000,10.0000000 30",
}
WRAPPED = {
    "mapillary": lambda item: {"data": [item, {**PHOTO, "id": "other"}]},
    "kartaview": lambda item: {"status": {}, "result": {"data": [item, {**KARTAVIEW, "id": "other"}]}},
    "gsv": lambda item: item,
}
PLAIN = {"mapillary": PHOTO, "kartaview": KARTAVIEW, "gsv": GOOGLE}


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("GOOGLE_MAPS_API_KEY", KEY)
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)


class Answering:
    """Answers with a given text to everything but images and their addresses."""

    def __init__(self, text):
        self.text = text

    def __call__(self, request):
        if request.url.path.endswith(".jpg") or request.url.path == "/maps/api/streetview":
            return httpx.Response(200, content=IMAGE)
        if "thumb_2048_url" in str(request.url):
            return httpx.Response(200, content=json.dumps({"thumb_2048_url": "https://images.example.net/17.jpg"}))
        return httpx.Response(200, content=self.text)


def provider(name):
    answering = Answering("")
    return open_provider(name, Budget(), transport=Network(answering)), answering


@pytest.mark.parametrize("name", PLAIN)
def test_a_strange_value_of_any_key_leaves_out_this_view_at_most(name):
    stored, (one, answering) = 0, provider(name)
    for key in PLAIN[name]:
        for value in NASTY:
            changed = {**PLAIN[name], key: value}
            answering.text = json.dumps(WRAPPED[name](changed))
            try:
                answer = one.search(REQUESTS[name])
            except VislocError:
                assert (name, key) == ("gsv", "status")
                continue
            assert len(answer.views) + len(answer.left_out) == (1 if name == "gsv" else 2) or key == "status"
            for view in answer.views:
                metadata_text(view, EnuFrame(60.0, 10.0))
                stored += 1
                try:
                    first = one.fetch(one.targets(view)[0])
                    assert first[0][0].name == view.name
                except VislocError:
                    assert view.name != "other"
    assert stored > 20


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("text", ["[]", "{}", "3", "null", '{"data": {}}', '{"data": [3, null, "x"]}', "[" * 2000])
def test_an_answer_of_another_form_is_an_error_or_empty(name, text):
    one, answering = provider(name)
    answering.text = text
    try:
        answer = one.search(REQUESTS[name])
    except VislocError:
        return
    assert isinstance(answer, Answer)
    assert list(answer.views) == []


@pytest.mark.parametrize("value", NASTY)
def test_heights_that_are_none_are_errors(value):
    for found in (
        value,
        [value],
        [{"elevation": value, "location": {"lat": 60.0, "lng": 10.0}}],
        [{"elevation": 1.0, "location": value}],
    ):
        text = json.dumps({"status": "OK", "results": found})
        service = open_elevations(Budget(), transport=Network(Answering(text)))
        try:
            heights = service.ask([(60.0, 10.0)])
        except VislocError:
            continue
        assert abs(heights[60.0, 10.0]) <= 1e300

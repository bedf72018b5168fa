"""The commands that collect views, against stand-ins for the services, in the place of the network."""

import json
import logging
import re

import httpx
import pytest
from street_network import grid_network
from street_services import KEY, SECRET, Google, Network
from visloc_command import succeed, visloc

from visloc_geo.database import GeoDatabase
from visloc_geo.providers.cost import StopError
from visloc_ros.core.errors import ConfigError

POINT = ("--point", 60.0, 10.0, "--radius", 300, "--spacing", 60)
PLACES = {"one": (60.0, 10.0), "two": (60.0, 10.002)}


@pytest.fixture
def service(monkeypatch):
    service = Google(PLACES)
    network = Network(service)
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: network.handle_request(request))
    monkeypatch.delenv("GOOGLE_MAPS_API_KEY", raising=False)
    return service


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "streets.osm"
    path.write_text(grid_network().osm, encoding="utf-8")
    return path


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "google.yaml"
    path.write_text(f"api-key: {KEY}\nsecret: {SECRET}\n")
    path.chmod(0o600)
    return path


def data_of(page):
    return json.loads(re.search(r"^const data = (.+);$", page.read_text(encoding="utf-8"), re.MULTILINE)[1])


def test_all_steps_cost_what_their_dry_runs_say_and_show_no_key(service, network, keys, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    google = ("--provider", "gsv", "--credentials", keys, "--accept-terms", "--network", network)
    database = ("--database", tmp_path / "streets")
    access = ("--credentials", keys, "--accept-terms")
    output, page = [], tmp_path / "map.html"
    for step, words in (
        ("metadata", (*database, *POINT, *google)),
        ("elevation", (*database, *access)),
        ("panoramas", (*database, *access, "--n_directions", 3)),
    ):
        before = sum(service.asked.values())
        estimated = json.loads(succeed("geo", step, *words, "--dry-run", "--json").stdout)
        assert (sum(service.asked.values()), estimated["step"]) == (before, step)
        assert before or not (tmp_path / "streets").exists()
        shown = succeed("--verbose", "geo", step, *words, "--json")
        counted = json.loads(shown.stdout)
        assert sum(service.asked.values()) - before == counted["requests"] == estimated["requests"] > 0
        assert counted["usd"] == pytest.approx(estimated["usd"])
        again = succeed("geo", step, *words)
        assert "0 requests, 0.000 USD" in again.stdout
        output += [shown.output, again.output]
    succeed("geo", "postview", *database, "--credentials", keys, "--output", page)
    assert {marker["lines"][0] for marker in data_of(page)["markers"]} == set(PLACES)
    assert len(GeoDatabase(tmp_path / "streets").names) == 3 * len(PLACES)
    files = [path for path in (page, *(tmp_path / "streets").rglob("*")) if path.is_file()]
    everything = " ".join([*output, caplog.text]).encode() + b"".join(path.read_bytes() for path in files)
    for secret in (KEY, KEY.replace("+", "%2B").replace("/", "%2F"), SECRET):
        assert secret.encode() not in everything


def test_google_is_off_until_its_terms_are_accepted(service, network, keys, tmp_path):
    words = ("--database", tmp_path / "streets", *POINT, "--network", network, "--credentials", keys)
    finished = visloc("geo", "metadata", *words, "--provider", "gsv")
    assert isinstance(finished.exception, ConfigError)
    assert "--accept-terms" in str(finished.exception)
    assert "must not be pre-fetched" in finished.output
    assert (sum(service.asked.values()), (tmp_path / "streets").exists()) == (0, False)


def test_a_limit_prints_what_came_and_ends_with_an_error(service, network, keys, tmp_path):
    words = ("--dataset", tmp_path / "streets", *POINT, "--network", network, "--credentials", keys)
    finished = visloc("geo", "metadata", *words, "--provider", "gsv", "--accept-terms", "--max-requests", 5)
    assert isinstance(finished.exception, StopError)
    assert "5 requests" in finished.output
    assert sum(service.asked.values()) == 5


def test_what_failed_is_printed_and_ends_with_1(service, network, keys, tmp_path):
    service.faults["metadata"] = [httpx.Response(404, text="?")]
    words = ("--database", tmp_path / "streets", *POINT, "--network", network, "--credentials", keys)
    finished = visloc("geo", "metadata", *words, "--provider", "gsv", "--accept-terms")
    assert finished.exit_code == 1
    assert "1 failed, the next run tries again" in finished.output


def test_a_preview_shows_points_and_streets_and_needs_no_key(network, tmp_path):
    page = tmp_path / "preview.html"
    shown = succeed("geo", "preview", *POINT, "--network", network, "--output", page, "--json")
    points = json.loads(shown.stdout)["points"]
    assert [marker["at"] for marker in data_of(page)["markers"]] == [pytest.approx(one, abs=1e-7) for one in points]
    assert len(points) > 10


def test_a_place_may_have_several_words(network, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("visloc_geo.streets.area.position_of_place", lambda place: asked.append(place) or (60, 10))
    words = ("--radius", 300, "--network", network, "--output", tmp_path / "preview.html")
    succeed("geo", "preview", "--place", "New", "York", "City", *words)
    assert asked == ["New York City"]
    assert isinstance(visloc("geo", "preview", "York", *POINT, *words).exception, ConfigError)
    assert isinstance(visloc("geo", "preview", "--place", "Lund", *POINT, *words).exception, ConfigError)


def test_the_programs_of_geonavpy_take_its_options(service, network, keys, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    area = (*POINT, "--jitter", 1, 2, "--network", network, "-v")
    database, access = ("--dataset", tmp_path / "streets"), ("--credentials", keys)
    succeed("preview", *area, "--output", tmp_path / "preview.html")
    assert opened == [(tmp_path / "preview.html").as_uri()]
    refused = visloc("metadata", *database, *access, *area)
    assert "--accept-terms" in str(refused.exception)
    succeed("metadata", *database, *access, *area, "--accept-terms")
    succeed("elevation", *database, *access, "--accept-terms")
    succeed("panoramas", *database, *access, "--fov", 90, "--n_directions", 2, "--accept-terms")
    succeed("postview", *database, *access, "--zoom", 14, "--output", tmp_path / "map.html")
    assert {view.source for view in GeoDatabase(tmp_path / "streets")} == {"gsv"}
    assert len(GeoDatabase(tmp_path / "streets").names) == 2 * len(PLACES)
    described = ("--max_keypoints", -1, "--keypoint_threshold", 0.5, "--nms_radius", 4, "--device", "cpu", "--json")
    assert json.loads(succeed("generate_local_descriptors", *database, *described).stdout)["described"] == 4
    done = succeed("generate_global_descriptors", *database, "--descriptor_type", "vlad", "--device", "cpu", "--json")
    assert json.loads(done.stdout)["described"] == 4
    same = (tmp_path / "streets", "--query_set", tmp_path / "streets", "--exp_name", "first")
    assert "another --query_set" in str(visloc("run_experiments", "--reference_set", *same).exception)

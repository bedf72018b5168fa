import json
from dataclasses import replace

import httpx
import numpy as np
import pytest
from street_network import grid_network
from street_services import KEY, SECRET, Google

from visloc_geo import collecting
from visloc_geo.database import GeoDatabase
from visloc_geo.metadata import GROUND
from visloc_geo.providers.cost import Budget, Cost, StopError
from visloc_geo.providers.google import IMAGE_USD, sign
from visloc_geo.providers.opening import open_elevations, open_provider
from visloc_geo.providers.request_log import RequestLog
from visloc_geo.streets.area import make_area
from visloc_geo.streets.sampling import SamplingConfig
from visloc_ros.core.errors import ConfigError

PLACES = {f"pano{index}": (60.0 + 0.0008 * index, 10.0) for index in range(2)}


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setenv("GOOGLE_MAPS_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_MAPS_SIGNING_SECRET", SECRET)
    return Google({**PLACES, "cellar": (60.0, 10.00002)}, indoors=["cellar"])


@pytest.fixture
def area(tmp_path):
    path = tmp_path / "streets.osm"
    path.write_text(grid_network().osm, encoding="utf-8")
    return make_area((60.0, 10.0), "", 400.0, path, SamplingConfig(50.0))


@pytest.fixture
def database(tmp_path):
    return GeoDatabase.create(tmp_path / "streets")


class Run:
    """A run of each step, as the commands do it: with a budget and a log of its own."""

    def __init__(self, database, service, area):
        self.database, self.service, self.area = database, service, area

    def metadata(self, **limits):
        return self._with("gsv", limits, lambda one, log: collecting.collect_views(self.database, one, self.area, log))

    def panoramas(self, n_directions=3, **limits):
        def fetch(one, log):
            return collecting.collect_images(
                self.database, one, collecting.missing_images(self.database, one, log), log
            )

        return self._with("gsv", limits, fetch, n_directions=n_directions)

    def panoramas_cost(self, n_directions=3):
        one = open_provider("gsv", Budget(), n_directions=n_directions, transport=self.service.transport)
        with RequestLog(self.database.folder) as log:
            return collecting.fetch_cost(one, collecting.missing_images(self.database, one, log))

    def elevation(self, most_locations=512):
        service = open_elevations(Budget(), transport=self.service.transport)
        service = replace(service, most_locations=most_locations)
        locations = collecting.locations_without_altitude(self.database)
        before = sum(self.service.asked.values())
        result = collecting.add_elevations(self.database, service, locations)
        return result, sum(self.service.asked.values()) - before

    def _with(self, name, limits, work, **options):
        before = sum(self.service.asked.values())
        one = open_provider(name, Budget(**limits), transport=self.service.transport, **options)
        with RequestLog(self.database.folder) as log:
            return work(one, log), sum(self.service.asked.values()) - before


@pytest.fixture
def run(database, service, area):
    return Run(database, service, area)


def test_an_address_is_signed_as_the_service_documents_it():
    asked = "/maps/api/geocode/json?address=New+York&client=clientID"
    assert sign(asked, "vNIXE0xscrmjlyV-12Nj_BvUPaw=") == "chaRF2hTJKOScPr-RQCEhZbSzIE="
    with pytest.raises(ConfigError, match="base 64"):
        sign(asked, "abcde")


def test_panoramas_are_found_once_each_and_never_asked_for_again(run, area):
    result, calls = run.metadata()
    assert (result.new, result.failed, calls) == (len(PLACES), [], len(area.points))
    assert run.database.names == sorted(PLACES)
    view = run.database.view("pano1")
    assert (view.position.latitude, view.position.longitude) == PLACES["pano1"]
    assert (view.panorama, view.source, view.captured_at, view.attribution) == ("pano1", "gsv", "2021-07", "© Google")
    assert np.abs(np.array(view.query_location) - PLACES["pano1"]).max() < 1e-3
    assert run.metadata()[1] == 0


def test_of_a_larger_area_only_the_new_points_are_asked_for(run, area):
    run.metadata()
    known = len(area.points)
    run.area = make_area((60.0, 10.0), "", 450.0, area.network, area.sampling)
    result, calls = run.metadata()
    assert (result.new, calls) == (0, len(run.area.points) - known)
    assert calls > 0


def test_failures_lose_nothing(run, service):
    service.faults["/metadata"] = [httpx.Response(404, text="?"), httpx.Response(200, content="no JSON")]
    result, calls = run.metadata()
    assert len(result.failed) == 2
    result, calls = run.metadata()
    assert (result.failed, calls) == ([], 2)
    assert run.database.names == sorted(PLACES)


def test_an_answer_that_lacks_the_panorama_is_reported(run, service):
    service.faults["/metadata"] = [httpx.Response(200, content=json.dumps({"status": "OK", "location": {"lat": 60.0}}))]
    result, _ = run.metadata()
    assert "KeyError('pano_id')" in result.left_out[0]


def test_directions_are_equal_also_where_360_is_not_divisible(run):
    n_directions, step = 7, 360.0 / 7
    run.metadata()
    estimated = run.panoramas_cost(n_directions)
    result, calls = run.panoramas(n_directions)
    assert result.new == calls == estimated.requests == n_directions * len(PLACES)
    assert estimated.usd == pytest.approx(calls * IMAGE_USD)
    views = [view for view in run.database if view.panorama == "pano1"]
    headings = sorted(view.orientation.heading_deg for view in views)
    assert np.diff(headings) == pytest.approx(step)
    assert (len(views), headings[0], views[0].name) == (n_directions, 0.0, "pano1")
    assert all(run.database.image_path(view.name).is_file() for view in views)
    asked = [float(dict(httpx.URL(one).params)["heading"]) for one in run.service.addresses if "pano=pano1&" in one]
    assert sorted(asked) == pytest.approx(headings, abs=1e-5)
    assert list(views[0].camera.params) == pytest.approx([320.0] * 4)  # 90 degrees over 640 pixels
    assert (run.panoramas(n_directions)[1], run.panoramas_cost(n_directions)) == (0, Cost())


def test_a_limit_of_money_stops_before_it_and_the_next_run_goes_on(run):
    run.metadata()
    result, calls = run.panoramas(max_usd=0.022)
    assert isinstance(result.stopped, StopError)
    assert result.new == calls == 3  # at 0.007 USD
    result, calls = run.panoramas()
    assert (result.stopped, calls) == (None, 3 * len(PLACES) - 3)


def test_a_panorama_that_is_gone_is_reported_once(run, service):
    run.metadata()
    del service.places["pano1"]
    result, _ = run.panoramas()
    assert (result.new, len(result.left_out)) == (3, 3)
    assert run.panoramas()[1] == 0


def test_a_refused_key_stops_and_is_not_shown(run, monkeypatch):
    monkeypatch.setenv("GOOGLE_MAPS_API_KEY", "another-secret")
    result, calls = run.metadata()
    assert calls <= 16
    assert str(result.stopped) == "Google refuses (REQUEST_DENIED): The key *** is invalid"


def test_altitudes_are_asked_for_once_for_all_views_of_a_place(run, service):
    run.metadata()
    run.panoramas()
    result, calls = run.elevation()
    assert (result.new, calls) == (3 * len(PLACES), 1)
    for view in run.database:
        ground = service.ground(*PLACES[view.panorama])
        assert view.position.altitude == pytest.approx(ground + 2.5)
        assert (view.altitude_source, view.camera_height_m) == (GROUND, 2.5)
    stored = json.loads((run.database.folder / "pano1" / "metadata.json").read_text())
    assert (stored["alt"], stored["camera_height"]) == (pytest.approx(service.ground(*PLACES["pano1"])), 2.5)
    assert run.elevation()[1] == 0


def test_views_that_are_fetched_later_have_the_altitude_of_their_panorama(run):
    run.metadata()
    run.elevation()
    run.panoramas()
    assert all(view.position.altitude is not None for view in run.database)


def test_a_batch_of_altitudes_that_fails_shifts_no_other(run, service):
    run.metadata()
    short = json.dumps({"status": "OK", "results": []})
    service.faults["/elevation"] = [httpx.Response(200, content=short)]
    result, calls = run.elevation(most_locations=1)
    assert (result.new, len(result.failed), calls) == (1, 1, 2)
    found = {view.name: view.position.altitude for view in run.database}
    assert list(found.values()).count(None) == 1
    for name, altitude in found.items():
        assert altitude is None or altitude == pytest.approx(service.ground(*PLACES[name]) + 2.5)
    result, calls = run.elevation(most_locations=1)
    assert (result.new, result.failed, calls) == (1, [], 1)


def test_requests_for_altitudes_are_as_few_as_the_limits_permit_and_cost_what_was_estimated(service):
    elevations = open_elevations(Budget(), transport=service.transport)
    places = [(-80.1234567, -100.0 - 1e-4 * index) for index in range(1300)]
    batches = elevations.batches([*places, *places])
    assert [len(batch) for batch in batches] == [512, 512, 276]
    heights = {}
    for batch in batches:
        heights |= elevations.ask(batch)
    assert heights == pytest.approx({at: service.ground(*(round(value, 7) for value in at)) for at in places})
    spent = elevations.client.budget.spent
    assert spent == elevations.cost(places) == Cost(3, pytest.approx(0.015))


def test_heights_of_other_places_are_not_used(run, service):
    run.metadata()
    wrong = [{"elevation": 1.0, "location": {"lat": 0.0, "lng": 0.0}}] * len(PLACES)
    service.faults["/elevation"] = [httpx.Response(200, content=json.dumps({"status": "OK", "results": wrong}))]
    result, _ = run.elevation()
    assert (result.new, len(result.failed)) == (0, 1)
    assert "rather than" in result.failed[0]


def test_without_a_key_costs_are_known_and_nothing_can_be_asked(monkeypatch):
    monkeypatch.delenv("GOOGLE_MAPS_API_KEY", raising=False)
    assert open_elevations(Budget(), is_key_needed=False).cost([(60.0, 10.0)]) == Cost(1, 0.005)
    with pytest.raises(ConfigError, match="GOOGLE_MAPS_API_KEY"):
        open_elevations(Budget())

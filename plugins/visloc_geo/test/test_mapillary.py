import json

import httpx
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from street_services import PHOTO, TOKEN, Mapillary, jpeg

from visloc_geo import collecting
from visloc_geo.database import GeoDatabase
from visloc_geo.orientation import rotation_of
from visloc_geo.providers.cost import Budget
from visloc_geo.providers.opening import open_provider
from visloc_geo.providers.request_log import RequestLog
from visloc_geo.streets.area import make_area
from visloc_geo.streets.sampling import SamplingConfig
from visloc_ros.core.wgs84 import EnuFrame

CENTRE = EnuFrame(59.9995, 10.0005)


def photo(east, north, **values):
    lat, lng, _ = CENTRE.to_geodetic([[east, north, 0.0]])[0]
    plain = {"geometry": {"coordinates": [lng, lat]}, "width": 64, "height": 48, "creator": {"username": "someone"}}
    return {**plain, "captured_at": 1_500_000_000_000, "camera_type": "perspective", **values}


def turned(heading, pitch, roll):
    return Rotation.from_matrix(rotation_of(heading, pitch, roll).T).as_rotvec().tolist()


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)


class Run:
    """Runs of a step, each with a provider and a log of its own; the second result counts its requests."""

    def __init__(self, folder, service, radius=400.0):
        self.database, self.service, self.radius = GeoDatabase.create(folder), service, radius

    @property
    def area(self):
        return make_area((CENTRE.latitude, CENTRE.longitude), "", self.radius, None, SamplingConfig())

    def metadata(self):
        return self._with(lambda one, log: collecting.collect_views(self.database, one, self.area, log))

    def forget(self):
        return self._with(lambda one, log: collecting.forget(one.requests(self.area), log))

    def images(self, **options):
        def fetch(one, log):
            return collecting.collect_images(
                self.database, one, collecting.missing_images(self.database, one, log), log
            )

        return self._with(fetch, **options)

    def _with(self, work, **options):
        before = sum(self.service.asked.values())
        one = open_provider("mapillary", Budget(), transport=self.service.transport, **options)
        with RequestLog(self.database.folder) as log:
            return work(one, log), sum(self.service.asked.values()) - before

    def only(self):
        assert self.metadata()[0].new == 1
        return next(iter(self.database))


def run_of(tmp_path, **photos):
    return Run(tmp_path / "streets", Mapillary({name.lstrip("_"): values for name, values in photos.items()}))


def test_photos_within_the_circle_are_found_in_all_tiles_and_full_ones_are_split(tmp_path):
    around = np.random.default_rng(0).uniform(-450.0, 450.0, (40, 2))
    photos = {str(number): photo(*place) for number, place in enumerate(around.tolist())}
    run = Run(tmp_path / "streets", Mapillary(photos, limit=2000))
    inside = {name for name, place in zip(photos, around, strict=True) if np.linalg.norm(place) <= 400.0}
    result, calls = run.metadata()
    assert (set(run.database.names), calls, result.failed) == (inside, 4, [])
    assert run.metadata()[1] == 0


def test_a_tile_with_too_many_photos_is_split_until_all_come(tmp_path):
    around = np.random.default_rng(0).uniform(-50.0, 50.0, (40, 2))
    photos = {str(number): photo(*place) for number, place in enumerate(around.tolist())}
    run = Run(tmp_path / "streets", Mapillary(photos))
    too_much = json.dumps({"error": {"message": "Please reduce the amount of data you're asking for"}})
    run.service.faults["/images"] = [httpx.Response(500, text=too_much)] * 2
    result, calls = run.metadata()
    assert (len(run.database.names), result.failed) == (40, [])
    assert calls == 4 + 2 * 4
    assert run.metadata()[1] == 0


def test_a_place_with_more_photos_than_the_service_lists_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("visloc_geo.providers.mapillary._LIMIT", 10)
    run = Run(tmp_path / "streets", Mapillary({str(number): photo(3.0, 2.0) for number in range(15)}, limit=10))
    result, _ = run.metadata()
    assert len(run.database.names) == 10
    assert any("beyond the first 10" in words for words in result.left_out)


def test_answered_requests_are_sent_again_once_they_are_forgotten(tmp_path):
    run = Run(tmp_path / "streets", Mapillary({"1": photo(10.0, 0.0)}))
    run.metadata()
    run.service.photos["2"] = photo(20.0, 0.0)
    assert run.metadata()[1] == 0
    run.forget()
    result, calls = run.metadata()
    assert (result.new, result.known, calls) == (1, 1, 4)


def test_of_a_larger_circle_what_the_smaller_one_left_out_comes_too(tmp_path):
    photos = {"near": photo(50.0, 0.0), "far": photo(200.0, 0.0)}
    run = Run(tmp_path / "streets", Mapillary(photos), radius=100.0)
    run.metadata()
    assert run.database.names == ["near"]
    run.radius = 250.0
    run.metadata()
    assert run.database.names == ["far", "near"]


def test_computed_values_go_before_recorded_ones(tmp_path):
    computed = {"computed_geometry": {"coordinates": [10.0001, 59.9996]}, "computed_altitude": 21.5, "altitude": 99.0}
    angles = {"computed_compass_angle": 121.0, "compass_angle": 200.0, "computed_rotation": turned(120.0, 5.0, -3.0)}
    view = run_of(tmp_path, _1=photo(0.0, 0.0, **computed, **angles)).only()
    assert (view.position.latitude, view.position.longitude, view.position.altitude) == (59.9996, 10.0001, 21.5)
    found = view.orientation
    assert (found.heading_deg, found.pitch_deg, found.roll_deg) == pytest.approx((120.0, 5.0, -3.0))


def test_recorded_values_serve_where_none_were_computed(tmp_path):
    view = run_of(tmp_path, _1=photo(30.0, 40.0, compass_angle=200.0)).only()
    east, north, _ = CENTRE.from_geodetic([[view.position.latitude, view.position.longitude, 0.0]])[0]
    assert (east, north) == pytest.approx((30.0, 40.0), abs=1e-3)
    assert (view.orientation.heading_deg, view.orientation.pitch_deg) == pytest.approx((200.0, 0.0))
    assert view.position.altitude is None


def test_a_rotation_that_contradicts_the_heading_is_not_used(tmp_path):
    angles = {"computed_compass_angle": 300.0, "computed_rotation": turned(120.0, 5.0, -3.0)}
    view = run_of(tmp_path, _1=photo(0.0, 0.0, **angles)).only()
    assert (view.orientation.heading_deg, view.orientation.pitch_deg) == (300.0, 0.0)


def test_licence_and_author_are_kept(tmp_path):
    view = run_of(tmp_path, _17=photo(0.0, 0.0)).only()
    assert view.licence == "CC BY-SA 4.0"
    assert view.attribution == "© someone, Mapillary, https://www.mapillary.com/app/?pKey=17"
    assert view.captured_at == "2017-07-14T02:40:00.000+00:00"


def test_photos_that_cannot_be_used_are_reported_and_take_no_other_along(tmp_path):
    run = run_of(
        tmp_path,
        _1=photo(0.0, 0.0),
        _2=photo(0.0, 0.0, exif_orientation=6),
        _3={**photo(0.0, 0.0), "computed_geometry": {"coordinates": []}},
        bad=photo(0.0, 0.0, altitude="high"),
    )
    result, _ = run.metadata()
    assert run.database.names == ["1"]
    assert [words.partition(":")[0] for words in sorted(result.left_out)] == ["2", "3", "bad"]


def test_intrinsics_are_those_of_the_size_that_comes(tmp_path):
    run = run_of(tmp_path, _1=photo(0.0, 0.0, camera_parameters=[0.85, -0.02, 0.01]), _2=photo(9.0, 0.0))
    run.metadata()
    result, calls = run.images()
    assert (result.new, calls) == (2, 4)
    camera = run.database.view("1").camera
    assert (camera.width, camera.height) == (64, 48)
    assert list(camera.params) == pytest.approx([0.85 * 64, 0.85 * 64, 32.0, 24.0, -0.02, 0.01, 0.0, 0.0])
    assert run.database.view("2").camera is None  # its focal length is not known
    assert run.images()[1] == 0


def test_an_expired_address_is_asked_for_again(tmp_path):
    run = run_of(tmp_path, _1=photo(0.0, 0.0))
    run.metadata()
    run.service.faults[PHOTO] = [httpx.Response(403, text="URL signature expired")]
    result, calls = run.images()
    assert (result.new, result.failed, calls) == (1, [], 4)


@pytest.mark.parametrize("sizes", [("thumb_original_url",), ("thumb_1024_url",)])
def test_another_size_is_taken_where_the_usual_one_is_missing(tmp_path, sizes):
    run = run_of(tmp_path, _1=photo(0.0, 0.0, sizes=sizes))
    run.metadata()
    assert run.images()[0].new == 1


def test_failures_are_reported_and_tried_by_the_next_run(tmp_path):
    run = run_of(tmp_path, _1=photo(0.0, 0.0, sizes=()), _2=photo(9.0, 0.0), _3=photo(18.0, 0.0))
    run.metadata()
    del run.service.photos["3"]
    run.service.faults[f"{PHOTO}/2/"] = [httpx.Response(200, content=jpeg()[:-200])] * 2
    result, _ = run.images()
    assert (result.new, len(result.failed), len(result.left_out)) == (0, 2, 1)
    assert sorted(words.partition(":")[0] for words in result.failed) == ["1", "2"]
    assert "has it no more" in result.left_out[0]
    run.service.photos["1"].pop("sizes")
    result, calls = run.images()
    assert (result.new, result.failed, calls) == (2, [], 4)


def test_a_panorama_becomes_views_in_all_directions(tmp_path):
    angles = {"computed_compass_angle": 30.0, "computed_rotation": turned(30.0, 2.0, 1.0)}
    run = run_of(tmp_path, _5=photo(0.0, 0.0, is_pano=True, camera_type="spherical", width=128, height=64, **angles))
    run.metadata()
    result, calls = run.images(n_directions=7)
    assert (result.new, calls) == (7, 2)
    views = list(run.database)
    assert {view.panorama for view in views} == {"5"}
    headings = sorted(view.orientation.heading_deg for view in views)
    assert headings == pytest.approx([index * 360.0 / 7 for index in range(7)])
    assert all(view.orientation.pitch_deg == pytest.approx(0.0) for view in views)
    assert run.images(n_directions=7)[1] == 0


def test_a_fisheye_becomes_a_perspective_view(tmp_path):
    fisheye = {"camera_type": "fisheye", "camera_parameters": [0.4, 0.01, -0.002], "width": 96, "height": 96}
    run = run_of(tmp_path, _1=photo(0.0, 0.0, **fisheye), _2=photo(5.0, 0.0, camera_type="fisheye62"))
    run.metadata()
    result, _ = run.images()
    assert (result.new, len(result.failed)) == (1, 1)
    camera = run.database.view("1").camera
    assert (camera.model.name, camera.params[0]) == ("PINHOLE", pytest.approx(0.4 * 96))


def test_a_refused_token_stops(tmp_path, monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", "MLY|old")
    result, _ = run_of(tmp_path, _1=photo(0.0, 0.0)).metadata()
    assert "refuses the key" in str(result.stopped)
    assert "old" not in str(result.stopped)

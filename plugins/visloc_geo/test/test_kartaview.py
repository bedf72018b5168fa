import math

import pytest
from street_services import KartaView

from visloc_geo import collecting
from visloc_geo.database import GeoDatabase
from visloc_geo.providers.cost import Budget, Cost
from visloc_geo.providers.opening import open_provider
from visloc_geo.providers.request_log import RequestLog
from visloc_geo.streets.area import Area, make_area
from visloc_geo.streets.sampling import SamplingConfig
from visloc_ros.core.errors import GeoError

AREA = make_area((60.0, 10.0), "", 500.0, None, SamplingConfig())


@pytest.fixture
def service():
    return KartaView(7, per_page=3)


def test_all_pages_come_and_none_twice(tmp_path, service):
    database = GeoDatabase.create(tmp_path / "streets")
    for calls in (3, 0):
        one = open_provider("kartaview", Budget(), transport=service.transport)
        with RequestLog(database.folder) as log:
            collecting.collect_views(database, one, AREA, log)
        assert one.client.budget.spent.requests == calls
    assert database.names == [f"kartaview-{number}" for number in range(7)]
    view = database.view("kartaview-3")
    assert (view.position.latitude, view.orientation.heading_deg) == (pytest.approx(60.00003), 90.0)
    assert (view.licence, view.source) == ("CC BY-SA 4.0", "kartaview")
    assert "someone" in view.attribution


def test_images_come_with_intrinsics_where_the_field_of_view_is_known(tmp_path, service):
    service.count = 2
    database = GeoDatabase.create(tmp_path / "streets")
    one = open_provider("kartaview", Budget(), transport=service.transport)
    with RequestLog(database.folder) as log:
        collecting.collect_views(database, one, AREA, log)
        targets = list(collecting.missing_images(database, one, log))
        assert collecting.fetch_cost(one, targets) == Cost(2)
        assert collecting.collect_images(database, one, targets, log).new == 2
    assert database.view("kartaview-0").camera is None
    assert database.view("kartaview-1").camera.params[0] == pytest.approx(40.0 / math.tan(math.radians(30.0)))


def test_it_is_searched_around_a_point_only(service):
    one = open_provider("kartaview", Budget(), transport=service.transport)
    with pytest.raises(GeoError, match="--point"):
        one.requests(Area(place="Lund"))

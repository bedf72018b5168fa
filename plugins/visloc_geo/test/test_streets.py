import http.server
import json
import sys
import threading

import numpy as np
import pytest
from street_network import BETWEEN_M, CENTRE, OFFSETS, SPAN_M, Network, grid_network

from visloc_geo.streets import osm
from visloc_geo.streets.area import make_area
from visloc_geo.streets.lines import merge_segments
from visloc_geo.streets.network_files import read_network
from visloc_geo.streets.sampling import SamplingConfig, sample_lines
from visloc_ros.core.errors import ConfigError, GeoError, SetupError
from visloc_ros.core.wgs84 import distances_m

PLACE = (CENTRE.latitude, CENTRE.longitude)
WEST, EAST = 9.9955, 10.0
BOUNDARY = {
    "boundingbox": ["59.99", "60.01", str(WEST), str(EAST)],
    "geojson": {
        "type": "Polygon",
        "coordinates": [[[WEST, 59.99], [EAST, 59.99], [EAST, 60.01], [WEST, 60.01], [WEST, 59.99]]],
    },
}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("streets") / "streets.osm"
    path.write_text(grid_network().osm, encoding="utf-8")
    return path


def metres(points):
    return CENTRE.from_geodetic(np.column_stack([points, np.zeros(len(points))]))[:, :2]


def area_of(network, radius=None, **sampling):
    return make_area(PLACE if radius else None, "", radius, network, SamplingConfig(**sampling))


def test_streets_are_what_can_be_walked_between_junctions(network):
    lengths = [np.linalg.norm(np.diff(metres(line), axis=0), axis=1).sum() for line in read_network(network)]
    between, corners = 2 * 5 * 4 - 2 * 4, 4  # at its four corners the grid goes on round the bend
    assert sorted(np.round(lengths)) == pytest.approx(
        [15.0] + between * [BETWEEN_M] + corners * [2 * BETWEEN_M], abs=0.6
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_points_are_as_far_apart_as_wanted_in_both_axes_at_60_degrees_north(network, axis):
    points = metres(area_of(network, spacing_m=30.0).points)
    along = np.sort(points[np.abs(points[:, 1 - axis]) < 0.5, axis])
    along = along[np.abs(along) < SPAN_M / 2 + 1.0]
    assert along[[0, -1]] == pytest.approx([-SPAN_M / 2, SPAN_M / 2], abs=0.01)
    assert np.diff(along) == pytest.approx(30.0, rel=0.1)


def test_points_where_streets_meet_are_there_once(network):
    points = metres(area_of(network, spacing_m=30.0).points)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(len(points))
    assert apart.min() > 20.0
    junctions = np.stack(np.meshgrid(OFFSETS[1:-1], OFFSETS[1:-1]), axis=-1).reshape(-1, 2)
    assert np.linalg.norm(junctions[:, None] - points[None], axis=2).min(axis=1).max() < 0.01


def test_the_area_is_a_true_circle(network):
    radius = 300.0
    inside, everything = area_of(network, radius).points, area_of(network).points
    away = distances_m(everything, *PLACE)
    assert len(inside) == (away <= radius).sum() > 50
    assert distances_m(inside, *PLACE).max() <= radius
    corner = np.abs(metres(everything)).max(axis=1) <= radius
    assert (corner & (away > radius)).any()  # a square would hold these


def test_points_move_aside_by_as_much_as_wanted_and_equally_in_every_run(network):
    plain = metres(area_of(network).points)
    first, again, other = (metres(area_of(network, jitter_m=(2.0, 5.0), seed=seed).points) for seed in (1, 1, 2))
    moved = np.linalg.norm(first - plain, axis=1)
    assert (moved.min() >= 2.0 - 1e-6, moved.max() <= 5.0 + 1e-6, np.ptp(moved) > 2.0) == (True, True, True)
    assert np.abs((first - plain).mean(axis=0)).max() < 1.0
    assert first == pytest.approx(again)
    assert not np.allclose(first, other)


def test_lines_much_shorter_than_the_spacing_get_no_point():
    for length, count in ((19.0, 0), (21.0, 2), (59.0, 2), (60.0, 3), (95.0, 4)):
        line = CENTRE.to_geodetic([[0.0, 0.0, 0.0], [length, 0.0, 0.0]])[:, :2]
        assert len(sample_lines([line], CENTRE, SamplingConfig())) == count


def test_a_circle_and_a_street_given_in_both_directions_are_walked_once():
    corners = {"a": (0.0, 0.0), "b": (0.0, 1.0), "c": (1.0, 1.0), "d": (1.0, 0.0)}
    ring = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]
    (line,) = merge_segments(corners, [*ring, *[(second, first) for first, second in ring], ("a", "a")])
    assert line[0] == pytest.approx(line[-1])
    assert len(line) == 5


def test_a_network_that_osmnx_saved_gives_the_same_streets(tmp_path):
    head = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    keys = [("d0", "node", "y"), ("d1", "node", "x"), ("d2", "edge", "geometry"), ("d3", "edge", "highway")]
    lines = [head, *(f'<key id="{key}" for="{of}" attr.name="{name}"/>' for key, of, name in keys), "<graph>"]
    for node, (lat, lng) in {"7": (60.0, 10.0), "8": (60.0, 10.01), "9": (60.01, 10.01)}.items():
        lines.append(f'<node id="{node}"><data key="d0">{lat}</data><data key="d1">{lng}</data></node>')
    bent = "LINESTRING (10 60, 10.005 60.001, 10.01 60)"
    for first, second in (("7", "8"), ("8", "7")):
        shape = bent if first == "7" else "LINESTRING (10.01 60, 10.005 60.001, 10 60)"
        lines.append(f'<edge source="{first}" target="{second}"><data key="d2">{shape}</data></edge>')
    lines.append('<edge source="8" target="9"><data key="d3">residential</data></edge>')
    path = tmp_path / "saved.graphml"
    path.write_text("\n".join([*lines, "</graph></graphml>"]), encoding="utf-8")
    (line,) = read_network(path)
    expected = np.array([[60.0, 10.0], [60.001, 10.005], [60.0, 10.01], [60.01, 10.01]])
    assert line == pytest.approx(expected) or line[::-1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no XML", "no network"),
        ("<kml/>", "begins with 'kml'"),
        ("<osm/>", "no street"),
        ('<osm><node id="1" lat="x" lon="1"/></osm>', "no network"),
        ('<osm><node id="1" lon="1"/></osm>', "no network"),
    ],
)
def test_a_file_that_holds_no_network_is_an_error(tmp_path, text, words):
    path = tmp_path / "network"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GeoError, match=words):
        read_network(path)


def test_a_projected_network_is_an_error(tmp_path):
    network = Network()
    network.way([(0.0, 0.0), (100.0, 0.0)])
    path = tmp_path / "utm.osm"
    path.write_text(network.osm.replace('lat="60', 'lat="6651411'), encoding="utf-8")
    with pytest.raises(GeoError, match="save it unprojected"):
        read_network(path)


@pytest.mark.parametrize(
    ("point", "place", "radius", "sampling", "words"),
    [
        (None, "", None, {}, "give an area"),
        (PLACE, "Lund", None, {}, "not both"),
        ((10.0, 200.0), "", None, {}, "no latitude and longitude"),
        (PLACE, "", -1.0, {}, "--radius"),
        (PLACE, "", None, {"spacing_m": 0.0}, "--spacing"),
        (PLACE, "", None, {"jitter_m": (5.0, 2.0)}, "--jitter"),
    ],
)
def test_an_area_that_cannot_be_is_an_error(point, place, radius, sampling, words):
    with pytest.raises(ConfigError, match=words):
        make_area(point, place, radius, None, SamplingConfig(**sampling))


def test_without_osmnx_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "osmnx", None)
    with pytest.raises(SetupError, match=r"pip install .*--network"):
        osm.streets_around(60.0, 10.0, 100.0)


@pytest.fixture
def openstreetmap(monkeypatch, tmp_path):
    """A local server in the place of Overpass and Nominatim: paths that were asked for; a status to answer with."""
    osmnx = pytest.importorskip("osmnx")
    network, asked, answers = grid_network(), [], {"status": 200}
    places = CENTRE.to_geodetic([[x, y, 0.0] for x, y in network.nodes])
    elements = [
        {"type": "node", "id": node, "lat": lat, "lon": lng}
        for node, (lat, lng, _) in zip(network.nodes.values(), places, strict=True)
    ]
    elements += [
        {"type": "way", "id": number, "nodes": nodes, "tags": tags}
        for number, (nodes, tags) in enumerate(network.ways[:20], 1)
    ]

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            asked.append(self.path.partition("?")[0])
            self.rfile.read(int(self.headers.get("content-length", 0)))
            place = [{"lat": "60.0", "lon": "10.0", "display_name": "Here", "importance": 1, **BOUNDARY}]
            body = json.dumps(place if "search" in self.path else {"elements": elements}).encode()
            body = body if answers["status"] == 200 else b"bad request"
            self.send_response(answers["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(osmnx.settings, "overpass_url", address)
        monkeypatch.setattr(osmnx.settings, "overpass_rate_limit", False)
        monkeypatch.setattr(osmnx.settings, "nominatim_url", f"{address}/")
        yield asked, answers
        server.shutdown()


def test_streets_of_openstreetmap_are_asked_for_once(openstreetmap, network):
    asked, _ = openstreetmap
    found = make_area(PLACE, "", 300.0, None, SamplingConfig()).points
    assert len(asked) == 1
    again = make_area(PLACE, "", 300.0, None, SamplingConfig()).points
    assert len(asked) == 1
    assert found == pytest.approx(again)
    saved = area_of(network, 300.0).points
    assert np.sort(found, axis=0) == pytest.approx(np.sort(saved, axis=0), abs=1e-7)


def test_a_place_is_found_by_its_name(openstreetmap):
    area = make_area(None, "Here and there", 300.0, None, SamplingConfig())
    assert (area.circle.latitude, area.circle.longitude) == PLACE


def test_without_a_radius_a_place_is_what_its_boundary_encloses(openstreetmap):
    points = make_area(None, "Here", None, None, SamplingConfig()).points
    assert len(points) > 50
    assert points[:, 1].min() >= WEST
    assert points[:, 1].max() <= EAST


def test_a_server_that_fails_is_an_error(openstreetmap):
    openstreetmap[1]["status"] = 400
    with pytest.raises(GeoError, match="OpenStreetMap"):
        osm.streets_around(60.0, 10.0, 500.0)

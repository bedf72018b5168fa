"""Street networks in files: GraphML as OSMnx saves it, and OpenStreetMap's own XML."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from visloc_geo.streets.lines import Lines, Node, merge_segments
from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import read_bytes

_MAX_BYTES = 1 << 30
_GRAPHML = "{http://graphml.graphdrawing.org/xmlns}"
_NOT_WALKED = re.compile(
    "abandoned|bus_guideway|busway|construction|corridor|elevator|escalator|motor|no$|planned|platform|proposed|raceway|"
    "razed|rest_area|services"
)
_ADVICE = "give a file that OSMnx saved (save_graphml) or an extract of OpenStreetMap (.osm)"


def read_network(path: Path) -> Lines:
    """The streets of a file, those that can be walked. Raises GeoError."""
    try:
        root = ElementTree.fromstring(read_bytes(path, GeoError, _MAX_BYTES))
        lines = _of_graphml(root) if root.tag == f"{_GRAPHML}graphml" else _of_osm(root)
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        raise GeoError(f"{path} holds no network of streets ({error}): {_ADVICE}") from error
    if not lines:
        raise GeoError(f"{path} holds no street that can be walked")
    for line in lines:
        if not np.isfinite(line).all() or np.abs(line[:, 0]).max() > 90.0 or np.abs(line[:, 1]).max() > 180.0:
            raise GeoError(f"{path} holds coordinates that are no latitudes and longitudes: save it unprojected")
    return lines


def _of_osm(root: ElementTree.Element) -> Lines:
    if root.tag != "osm":
        raise ValueError(f"it begins with '{root.tag}'")
    positions: dict[Node, tuple[float, float]] = {
        node.attrib["id"]: _lat_lng(node.attrib["lat"], node.attrib["lon"]) for node in root.iter("node")
    }
    segments: list[tuple[Node, Node]] = []
    for way in root.iter("way"):
        tags = {tag.attrib["k"]: tag.attrib["v"] for tag in way.iter("tag")}
        if is_walked(tags):
            nodes = [one.attrib["ref"] for one in way.iter("nd") if one.attrib["ref"] in positions]
            segments += pairwise(nodes)
    return merge_segments(positions, segments)


def is_walked(tags: dict[str, str]) -> bool:
    """Whether a way is a street that people may walk along, by its tags."""
    kind = tags.get("highway", "no")
    return not (
        _NOT_WALKED.match(kind)
        or tags.get("area") == "yes"
        or tags.get("access") == "private"
        or tags.get("foot") == "no"
        or tags.get("service") == "private"
    )


def _of_graphml(root: ElementTree.Element) -> Lines:
    keys = {key.attrib["id"]: key.attrib["attr.name"] for key in root.iter(f"{_GRAPHML}key")}
    positions: dict[Node, tuple[float, float]] = {}
    for node in root.iter(f"{_GRAPHML}node"):
        values = _values(node, keys)
        positions[node.attrib["id"]] = _lat_lng(values["y"], values["x"])
    segments: list[tuple[Node, Node]] = []
    for edge in root.iter(f"{_GRAPHML}edge"):
        inner = _geometry(_values(edge, keys).get("geometry", ""))
        positions |= {point: point for point in inner}
        nodes = [edge.attrib["source"], *inner, edge.attrib["target"]]
        segments += pairwise(nodes)
    return merge_segments(positions, segments)


def _values(part: ElementTree.Element, keys: dict[str, str]) -> dict[str, str]:
    return {keys[data.attrib["key"]]: data.text or "" for data in part.iter(f"{_GRAPHML}data")}


def _geometry(text: str) -> list[tuple[float, float]]:
    """The points between the ends of ``LINESTRING (x y, ...)``, which simplified networks have."""
    found = re.fullmatch(r"LINESTRING\s*\((.*)\)", text.strip())
    if found is None:
        return []
    points = [point.split() for point in found[1].split(",")]
    return [_lat_lng(y, x) for x, y, *_ in points[1:-1]]


def _lat_lng(latitude: str, longitude: str) -> tuple[float, float]:
    return float(latitude), float(longitude)

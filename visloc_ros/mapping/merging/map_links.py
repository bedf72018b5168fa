"""How maps of one place lie to each other: by images that both show, or else by where both are on the earth."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.geo_reference import GEO_SIGMA_M, HEIGHT_FACTOR, GeoReference
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.map import Map
from visloc_ros.core.progress import Progress
from visloc_ros.core.similarity_estimate import SimilarityEstimate
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.mapping.map_models import stated_extractor
from visloc_ros.mapping.merging.placing import NoOverlapError, place_map
from visloc_ros.mapping.merging.sightings import MapSearch

_CONSISTENT = 0.999  # of right transforms around a loop


@dataclass(frozen=True, eq=False)
class MapLink:
    """``a_from_b`` of two maps by their rows, how many images it rests on (none where it is by geotags), in words."""

    a: int
    b: int
    estimate: SimilarityEstimate
    images: int
    source: str


@dataclass(frozen=True, eq=False)
class MapLinks:
    """What links maps, and in words why pairs that share images are not linked."""

    links: list[MapLink]
    refused: list[str]


def find_links(maps: Sequence[Map], names: Sequence[str], known: Container[int], progress: Progress) -> MapLinks:
    """Search the images of every map in those before it; pairs that share none are linked by geotags where possible.

    Nothing is searched for between maps whose places are ``known``, by row.
    """
    found = MapLinks([], [])
    pairs = [pair for pair in combinations(range(len(maps)), 2) if not (pair[0] in known and pair[1] in known)]
    for a, same in groupby(pairs, key=lambda pair: pair[0]):
        search = MapSearch(maps[a], stated_extractor(maps[a]), progress.advance)
        for _, b in same:
            progress.stage(f"search '{names[b]}' in '{names[a]}'", len(maps[b].images))
            try:
                placed = place_map(maps[a], maps[b], search.find_all(maps[b]))
            except NoOverlapError:
                continue
            except MapError as error:
                found.refused.append(str(error))
                continue
            images = int(placed.residuals["images"])
            estimate = SimilarityEstimate(placed.a_from_b, placed.covariance)
            found.links.append(MapLink(a, b, estimate, images, f"{images} images of '{names[b]}' in '{names[a]}'"))
    linked = {(link.a, link.b) for link in found.links}
    for a, b in pairs:
        if (a, b) not in linked:
            found.links.extend(_by_geotags(a, b, maps[a].manifest.on_earth, maps[b].manifest.on_earth))
    return found


def _by_geotags(a: int, b: int, of_a: GeoReference | None, of_b: GeoReference | None) -> list[MapLink]:
    """A link by where the maps' origins are on the earth; none where one, or its altitude, is not known."""
    if of_a is None or of_b is None or of_a.altitude is None or of_b.altitude is None:
        return []
    frames = [EnuFrame(one.latitude, one.longitude, one.altitude or 0.0) for one in (of_a, of_b)]
    a_from_b = Sim3.from_se3(frames[0].earth_from_enu.inverse @ frames[1].earth_from_enu)
    position, axes = 2.0 * GEO_SIGMA_M**2, math.radians(math.hypot(of_a.axes_sigma_deg, of_b.axes_sigma_deg)) ** 2
    variances = [position, position, position * HEIGHT_FACTOR**2, axes, axes, axes, 0.0]
    return [MapLink(a, b, SimilarityEstimate(a_from_b, np.diag(variances)), 0, "geotags")]


Placed = Mapping[int, tuple[SimilarityEstimate, str]]
"""``atlas_from_map`` by the row of the map, and in words what it rests on."""


def place_along(links: Sequence[MapLink], names: Sequence[str], known: Placed) -> Placed:
    """Place maps from the known ones on, along the links with most images; those that nothing links are left out.

    Raises MapError where another link contradicts the places.
    """
    placed = dict(known)
    while edges := [link for link in links if (link.a in placed) != (link.b in placed)]:
        best = max(edges, key=lambda link: link.images)
        if best.a in placed:
            placed[best.b] = placed[best.a][0] @ best.estimate, best.source
        else:
            placed[best.a] = placed[best.b][0] @ best.estimate.inverse, best.source
    for link in (link for link in links if link.a in placed):
        expected = placed[link.a][0].inverse @ placed[link.b][0]
        if expected.squared_distance(link.estimate) > chi_square_quantile(_CONSISTENT, 7):
            raise MapError(
                f"by {link.source}, '{names[link.b]}' lies elsewhere than by its links to others: two places look "
                "alike, or one map is bent; leave one of these maps out, or build it again"
            )
    return placed

"""Fills a database from a provider: finds views, fetches images, adds altitudes. What came is stored at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from visloc_geo.database import GeoDatabase
from visloc_geo.providers.base import Answer, GoneError, Provider
from visloc_geo.providers.cost import Cost, StopError, total
from visloc_geo.providers.elevation import Elevations, Location, location_of, with_ground
from visloc_geo.providers.request_log import RequestLog
from visloc_geo.providers.threads import in_threads
from visloc_geo.streets.area import Area
from visloc_geo.view import View
from visloc_ros.core.errors import VislocError
from visloc_ros.core.files import is_file

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int], None]


@dataclass
class Collected:
    """Counts of a run: views or images that are new, those known before, and what failed, with the reasons.

    ``stopped`` is set where a limit was reached or the provider refused; what came before is stored.
    """

    new: int = 0
    known: int = 0
    failed: list[str] = field(default_factory=list)
    """Another run tries these again."""
    left_out: list[str] = field(default_factory=list)
    """Not usable, or gone for good."""
    stopped: StopError | None = None


def open_requests(requests: Iterable[str], log: RequestLog) -> Iterator[str]:
    """The requests, and those that answered ones led to, that were not answered yet."""
    for request in requests:
        further = log.further(request)
        if further is None:
            yield request
        else:
            yield from open_requests(further, log)


def forget(requests: Iterable[str], log: RequestLog) -> None:
    """Have requests, and those that they led to, answered again: a provider has new views since."""
    for request in requests:
        forget(log.further(request) or (), log)
        log.forget(request)


def search_cost(provider: Provider, requests: Iterable[str]) -> Cost:
    """What it costs to send requests that list views."""
    return total(provider.search_cost(request) for request in requests)


def collect_views(
    database: GeoDatabase, provider: Provider, area: Area, log: RequestLog, progress: Progress | None = None
) -> Collected:
    """Add the views that a provider has in an area, without their images."""
    result, names = Collected(), set(database.names)
    waiting = list(open_requests(provider.requests(area), log))
    while waiting:
        requests, waiting = waiting, []
        for request, answer in _in_threads(provider.search, requests, result):
            if isinstance(answer, VislocError):
                result.failed.append(str(answer))
            else:
                _store(database, names, area, answer, result)
                log.note(request, answer.further)
                waiting += open_requests(answer.further, log)
            _advance(progress)
    return result


def _store(database: GeoDatabase, names: set[str], area: Area, answer: Answer, result: Collected) -> None:
    result.left_out += answer.left_out
    for view in answer.views:
        if view.name in names:
            result.known += 1
        elif view.position is None or not _is_near(area, view):
            continue
        else:
            database.add(view)
            names.add(view.name)
            result.new += 1


def _is_near(area: Area, view: View) -> bool:
    """Whether a view lies in the area, or as near to its border as the search of points reaches."""
    if view.query_location is not None:
        return True
    assert view.position is not None
    return bool(area.contains(np.array([[view.position.latitude, view.position.longitude]]))[0])


def missing_images(database: GeoDatabase, provider: Provider, log: RequestLog) -> Iterator[View]:
    """The views to fetch: of this provider, without an image, and not known to be gone."""
    for view in database:
        if view.source != provider.name:
            continue
        for target in provider.targets(view):
            if not is_file(database.image_path(target.name)) and log.further(_gone(target)) is None:
                yield target


def fetch_cost(provider: Provider, targets: Iterable[View]) -> Cost:
    """What it costs to fetch images."""
    return total(provider.fetch_cost(target) for target in targets)


def collect_images(
    database: GeoDatabase,
    provider: Provider,
    targets: Iterable[View],
    log: RequestLog,
    progress: Progress | None = None,
) -> Collected:
    """Fetch the images of views, and complete their metadata."""
    result = Collected()
    for target, fetched in _in_threads(provider.fetch, targets, result):
        if isinstance(fetched, GoneError):
            log.note(_gone(target))
            result.left_out.append(f"{target.name}: {fetched}")
        elif isinstance(fetched, VislocError):
            result.failed.append(f"{target.name}: {fetched}")
        else:
            # The one that stands for all, by which they are known to be fetched, last.
            for view, image in reversed(fetched):
                database.add(view, image)
            result.new += len(fetched)
        _advance(progress)
    return result


def _gone(target: View) -> str:
    return f"gone {target.name}"


def locations_without_altitude(views: Iterable[View]) -> list[Location]:
    """Where views lack an altitude, each place once."""
    found = (location_of(view) for view in views)
    return list(dict.fromkeys(one for one in found if one is not None))


def add_elevations(
    database: GeoDatabase, elevations: Elevations, locations: Iterable[Location], progress: Progress | None = None
) -> Collected:
    """Give views that lack an altitude that of the ground and their camera's height above it."""
    result = Collected()
    names: dict[Location, list[str]] = {}
    for view in database:
        if (location := location_of(view)) is not None:
            names.setdefault(location, []).append(view.name)
    for batch, heights in _in_threads(elevations.ask, elevations.batches(list(locations)), result):
        if isinstance(heights, VislocError):
            result.failed.append(f"{len(batch)} locations: {heights}")
        else:
            for location, ground in heights.items():
                for name in names.get(location, ()):
                    database.update(with_ground(database.view(name), ground))
                    result.new += 1
        _advance(progress)
    return result


def _in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], result: Collected
) -> Iterator[tuple[Item, Result | VislocError]]:
    try:
        yield from in_threads(work, items)
    except StopError as error:
        result.stopped = error


def _advance(progress: Progress | None) -> None:
    if progress is not None:
        progress(1)

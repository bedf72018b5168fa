"""``visloc geo metadata``, ``elevation`` and ``panoramas``: collect views of streets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from visloc_geo import collecting
from visloc_geo.apps.options import Access, Database, ProviderName, takes_access, takes_area
from visloc_geo.collecting import Collected
from visloc_geo.database import GeoDatabase
from visloc_geo.providers.cost import Budget, Cost
from visloc_geo.providers.opening import GOOGLE, MAPILLARY, PROVIDERS, open_elevations, open_provider, terms_of
from visloc_geo.providers.request_log import RequestLog
from visloc_geo.streets.area import Area
from visloc_ros.apps.console import AsJson, StageBars, console, error_console, print_json
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import is_folder

_FAILURES_SHOWN = 5


@takes_area
@takes_access
def metadata(
    area: Area,
    access: Access,
    database: Database,
    provider: ProviderName = MAPILLARY,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask again for what was answered: there are new views.")
    ] = False,
    shown: Annotated[bool, typer.Option("-v", hidden=True)] = False,  # geonavpy has one list of options for an area
    as_json: AsJson = False,
) -> None:
    """Find the views of an area, without their images; what was asked before is not asked again.

    Example: visloc geo metadata --database streets --point 55.7047 13.1910 --radius 500 --dry-run
    """
    _check_terms(provider, access.are_terms_accepted)
    source = open_provider(provider, access.budget, access.credentials, is_key_needed=not access.is_dry_run)
    if not access.is_dry_run:
        GeoDatabase.create(database)
    with RequestLog(database if is_folder(database) else None) as log:
        if refresh and not access.is_dry_run:
            collecting.forget(source.requests(area), log)
        requests = list(source.requests(area) if refresh else collecting.open_requests(source.requests(area), log))
        if access.is_dry_run:
            _print_cost("metadata", collecting.search_cost(source, requests), as_json)
            return
        _run(
            "find views",
            len(requests),
            lambda progress: collecting.collect_views(GeoDatabase(database), source, area, log, progress),
            access.budget,
            as_json,
        )


@takes_access
def elevation(
    access: Access,
    database: Database,
    as_json: AsJson = False,
) -> None:
    """Add altitudes to views that lack them: Google's heights of the ground, and the camera's above it.

    Example: visloc geo elevation --database streets --dry-run
    """
    streets = GeoDatabase(database)
    locations = collecting.locations_without_altitude(streets)
    _check_terms(GOOGLE, access.are_terms_accepted)
    service = open_elevations(access.budget, access.credentials, is_key_needed=not access.is_dry_run)
    if access.is_dry_run:
        _print_cost("elevation", service.cost(locations), as_json)
        return
    total = len(service.batches(locations))
    _run(
        "elevations",
        total,
        lambda progress: collecting.add_elevations(streets, service, locations, progress),
        access.budget,
        as_json,
    )


@takes_access
def panoramas(
    access: Access,
    database: Database,
    fov: Annotated[float, typer.Option(help="Field of view of the views cut from panoramas, in degrees.")] = 90.0,
    n_directions: Annotated[
        int, typer.Option("--n_directions", "--n-directions", min=1, help="Views of a panorama.")
    ] = 8,
    provider: ProviderName = "",
    as_json: AsJson = False,
) -> None:
    """Fetch the images of views that have none yet; an interrupted run continues.

    Example: visloc geo panoramas --database streets --max-requests 1000
    """
    streets = GeoDatabase(database)
    provider = provider or _only_source(streets)
    _check_terms(provider, access.are_terms_accepted)
    source = open_provider(
        provider,
        access.budget,
        access.credentials,
        fov_deg=fov,
        n_directions=n_directions,
        is_key_needed=not access.is_dry_run,
    )
    with RequestLog(database) as log:
        targets = list(collecting.missing_images(streets, source, log))
        if access.is_dry_run:
            _print_cost("panoramas", collecting.fetch_cost(source, targets), as_json)
            return
        _run(
            "fetch images",
            len(targets),
            lambda progress: collecting.collect_images(streets, source, targets, log, progress),
            access.budget,
            as_json,
        )


def _check_terms(provider: str, are_accepted: bool) -> None:
    """Print the terms of a provider. Raises ConfigError where they are not accepted."""
    if not (terms := terms_of(provider)):
        return
    error_console.print(terms, style="yellow", highlight=False, soft_wrap=True)
    if not are_accepted:
        raise ConfigError("this service is used only with --accept-terms; Mapillary and your own photos need none")


def _only_source(database: GeoDatabase) -> str:
    """The provider of a database's views. Raises ConfigError where they have several, or none that is known."""
    sources = sorted({view.source for view in database if view.source in PROVIDERS} - {None})
    if len(sources) != 1:
        found = ", ".join(str(one) for one in sources) or "no provider"
        raise ConfigError(f"the views are from {found}: name one with --provider")
    return str(sources[0])


def _print_cost(step: str, cost: Cost, as_json: bool) -> None:
    if as_json:
        print_json({"step": step, "requests": cost.requests, "usd": round(cost.usd, 4), "at_least": cost.at_least})
    else:
        console.print(f"{step}: {cost}; nothing was asked", highlight=False)


def _run(
    stage: str, total: int, collect: Callable[[Callable[[int], None]], Collected], budget: Budget, as_json: bool
) -> None:
    """Collect with a bar, and print the counts; exit code 1 where something failed. Raises StopError after them."""
    with StageBars() as bars:
        bars.stage(stage, total)
        result = collect(bars.advance)
    _print_result(result, budget.spent, as_json)
    if result.stopped is not None:
        raise result.stopped
    if result.failed:
        raise typer.Exit(1)


def _print_result(result: Collected, spent: Cost, as_json: bool) -> None:
    if as_json:
        counts: dict[str, Any] = {"new": result.new, "known": result.known, "failed": result.failed}
        print_json(counts | {"left_out": result.left_out, "requests": spent.requests, "usd": round(spent.usd, 4)})
        return
    console.print(f"{result.new} new, {result.known} known before; {spent}", highlight=False)
    for words, reasons in (("failed, the next run tries again", result.failed), ("left out", result.left_out)):
        if reasons:
            error_console.print(f"{len(reasons)} {words}:", style="yellow", highlight=False)
        for reason in reasons[:_FAILURES_SHOWN]:
            error_console.print(f"  {reason}", highlight=False, soft_wrap=True)

"""``visloc geo experiment``: how well the photos of one database are located by another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from visloc_geo.apps.command_locate import describe
from visloc_geo.config import GeoConfig
from visloc_geo.database import GeoDatabase
from visloc_geo.experiment import (
    LocatedQuery,
    figures,
    frames_of,
    positions_of,
    write_arrays,
    write_page,
    write_table,
)
from visloc_geo.localizer import GeoLocalizer
from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.outputs import check_outputs, write_json, writing
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import GeoError
from visloc_ros.core.map_layout import VLAD
from visloc_ros.evaluation.machine import provenance


def experiment(
    reference_set: Annotated[
        Path, typer.Option("--reference_set", "--reference-set", help="Database of geotagged views.")
    ],
    query_set: Annotated[
        Path,
        typer.Option("--query_set", "--query-set", help="Database of photos with their true places."),
    ],
    descriptor_type: Annotated[
        str,
        typer.Option("--descriptor_type", "--descriptor-type", help="Global descriptor to retrieve views by."),
    ] = VLAD,
    exp_name: Annotated[
        str, typer.Option("--exp_name", "--exp-name", help="Name of the results' folder; otherwise the time.")
    ] = "",
    conf: Annotated[
        Path | None, typer.Option("--conf", "--config", help="YAML file with options that differ from the defaults.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that the results' folder is made in.")] = Path(
        "exp"
    ),
    tiles: Annotated[bool, typer.Option("--tiles", help="Show OpenStreetMap below the map, online.")] = False,
    as_json: AsJson = False,
) -> None:
    """Locate the photos of one database by another, and compare with their true places; failures count.

    Example: visloc geo experiment --reference_set streets --query_set photos --exp_name first
    """
    if reference_set.resolve() == query_set.resolve():
        raise GeoError("a photo that is in the database finds itself: give another --query_set")
    folder = output / (exp_name or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%S"))
    check_outputs(folder=folder)
    config, references = read_config(GeoConfig, conf), GeoDatabase(reference_set)
    localizer = GeoLocalizer(references, config, descriptor_type)
    located = list[LocatedQuery]()
    for frame, view in frames_of(GeoDatabase(query_set)):
        located.append(LocatedQuery(localizer.locate(frame), view))
        console.print(describe(located[-1].answer), highlight=False, soft_wrap=True)
    positions = positions_of(references)
    found = figures(located, positions)
    settings = {"config": config.to_mapping(), "descriptor_type": descriptor_type, "views": len(positions)}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder, located)
        write_table(folder / "results.csv", located)
    report = {**settings, **found, **provenance()}
    write_json(folder / "results.json", report)
    write_page(folder / "map.html", located, positions, tiles)
    console.print(summary(found, folder), highlight=False, soft_wrap=True)
    if as_json:
        print_json(report)


def summary(found: dict[str, object], folder: Path) -> str:
    """One line about the whole experiment."""
    recalls: Sequence[dict[str, float]] = found["recall"]  # type: ignore[assignment]
    error: dict[str, float | None] = found["position_error_m"]  # type: ignore[assignment]
    within = ", ".join(f"{one['percent']:.1f} % within {one['metres']:g} m {one['degrees']:g} deg" for one in recalls)
    median = "no position compared" if error["median"] is None else f"median {error['median']:.2f} m"
    return f"{found['located']} of {found['queries']} located, {median}; {within}; results in {folder}"

"""``visloc compare``: ways of searching the same map for the same images, in one table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import AsJson, StageBars, console, make_table, print_json
from visloc_ros.apps.options import ConfigFile, GroundTruth, MapArgument, read_truth, takes_source_config
from visloc_ros.apps.outputs import check_outputs, write_json, writing
from visloc_ros.core.config import read_config
from visloc_ros.core.map import Map
from visloc_ros.core.progress import track
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.search_comparison import choose_searches, compare_searches, make_engines, searched_bytes
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.config import search_names
from visloc_ros.localization.searchable_map import open_searchable_map, searches_of
from visloc_ros.sources import SourceConfig, open_source

METRES, DEGREES, MILLISECONDS = 100.0, 1.0, 1.0


@takes_source_config
def compare(
    map_path: MapArgument,
    source: Annotated[Path, typer.Argument(help="Video file, image folder, or ROS 2 bag of the place.")],
    source_config: SourceConfig,
    search: Annotated[str, typer.Option(help=f"Ways of searching, by commas: {', '.join(search_names())}.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for comparison.json and comparison.png.")
    ] = None,
    ground_truth: GroundTruth = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare ways of searching a map: how many images each finds, how exactly, how fast, with how many bytes.

    Without --search all are compared that the map is prepared for.

    Example: visloc compare maps/office query.mp4 --every 15 --search retrieval,NAME --output out/compared
    """
    check_outputs(folder=output)
    frames = open_source(source, source_config)
    place = open_searchable_map(map_path)
    engines = make_engines(place, _chosen(search, place), read_config(AnchorConfig, config))
    truth = read_truth(ground_truth, frames)
    with StageBars() as bars:
        records = compare_searches(engines, track(bars, "searching", frames, len(frames)), truth)
    figures = {name: {**record.figures(), "bytes": searched_bytes(place, name)} for name, record in records.items()}
    if output is not None:
        from visloc_ros.evaluation.search_plots import draw_comparison  # drawing takes a second to import

        with writing(output):
            output.mkdir(parents=True, exist_ok=True)
            (output / "comparison.png").write_bytes(draw_comparison(f"{frames.name} in {place.name}", records))
        write_json(output / "comparison.json", {**figures, **provenance()})
    if as_json:
        print_json(figures)
    else:
        print_comparison(figures)


def _chosen(search: str, place: Map) -> list[str]:
    return choose_searches(search) or searches_of(place.manifest)


def print_comparison(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row for each way of searching."""
    within = next(iter(figures.values()))["recall"]
    recalls = [f"{one['distance_m']:g} m, {one['angle_deg']:g}°" for one in within]
    numbers = ("found", *recalls, "position", "rotation", "search time", "with features", "references", "bytes")
    table = make_table(("search", *numbers), numbers)
    for name, figure in figures.items():
        table.add_row(
            name,
            f"{figure['found']} of {figure['images']}",
            *(f"{one['percent']:.1f} %" for one in figure["recall"]),
            _number(figure["position_m"], METRES, "{:.2f} cm"),
            _number(figure["rotation_deg"], DEGREES, "{:.2f}°"),
            _number(figure["search_ms"], MILLISECONDS, "{:.1f} ms"),
            _number(figure["with_features_ms"], MILLISECONDS, "{:.1f} ms"),
            _number(figure["references"], 1.0, "{:.1f}"),
            f"{sum(figure['bytes'].values()) / 1e6:.2f} MB",
        )
    console.print(table)


def _number(value: float | None, factor: float, form: str) -> str:
    return "–" if value is None else form.format(factor * value)

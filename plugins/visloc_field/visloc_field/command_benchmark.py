"""``visloc benchmark``: a data set of the field by its protocol, in the table that papers print.

PRAM's programs run it by landmarks. They are hidden commands, and refuse options that have no meaning here; a key of
their --config file, which is PRAM's own, is overridden by the option of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from visloc_field.data_sets import DATA_SETS, find_data_set
from visloc_field.protocol import BenchmarkConfig, Records, run_protocol
from visloc_field.published import Published, published_for
from visloc_field.scene import BenchmarkScene, ResultNames
from visloc_field.scores import Score, mean_score, score_scene
from visloc_ros.apps.console import AsJson, StageBars, console, make_table, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.options import ConfigFile
from visloc_ros.apps.outputs import check_outputs, write_json
from visloc_ros.core.config import read_config
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.search_comparison import choose_searches
from visloc_ros.localization.config import RETRIEVAL, search_names

MEAN = "mean"
CENTIMETRES = 100.0

Scores = Mapping[str, Mapping[str, Mapping[str, Score]]]
"""By scene, way of searching, and condition, the empty one for all."""


@takes_engine
def benchmark(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"Data set: {', '.join(DATA_SETS)}.")],
    data: Annotated[Path, typer.Argument(help="Folder of the data set, unpacked.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for maps, result files and benchmark.json.")],
    engine: EngineChoice,
    scenes: Annotated[str, typer.Option(help="Scenes, by commas; all that are there where none is named.")] = "",
    search: Annotated[
        str, typer.Option(help=f"Ways of searching, by commas: {', '.join(search_names())}.")
    ] = RETRIEVAL,
    every: Annotated[int, typer.Option(min=1, help="Map every n-th image of the database.")] = 1,
    result_names: Annotated[
        ResultNames,
        typer.Option(help="Names in result files: as the server takes them, of the file alone, or with its folder."),
    ] = ResultNames.server,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Run a benchmark: map each scene at the given poses, find its queries, write result files, print the figures.

    With --workers or --engine scenes are mapped, and searched, at once. After an interruption the same command
    continues where it stopped. The --config file may have the sections mapping, anchor, and one for each way of
    searching that prepares maps.

    Example: visloc benchmark 7scenes data/7scenes --scenes redkitchen --search retrieval,landmarks -o out/7scenes
    """
    searches = choose_searches(search) or [RETRIEVAL]
    options = read_config(BenchmarkConfig, config)
    wanted = [scene.strip() for scene in scenes.split(",") if scene.strip()]
    run_benchmark(name, data, output, searches, options, wanted, every, as_json, result_names, engine)


def run_benchmark(
    name: str,
    data: Path,
    output: Path,
    searches: Sequence[str],
    options: BenchmarkConfig,
    wanted: Sequence[str] = (),
    every: int = 1,
    as_json: bool = False,
    result_names: ResultNames = ResultNames.server,
    engine: EngineChoice | None = None,
) -> None:
    """Run the protocol of a data set on the scenes wanted, all where none is named, and print the figures."""
    check_outputs(folder=output, is_continued=True)
    engine, output = engine or EngineChoice(), output.absolute()  # workers run in other folders
    read = find_data_set(name).read(data.absolute(), wanted)
    chosen = [scene.thinned(every).with_result_names(result_names) for scene in read]
    try:
        with StageBars() as bars, engine.open_if_given() as workers:
            records = run_protocol(chosen, searches, output, options, bars, workers)
    except KeyboardInterrupt:
        console.print(f"what is done stays in {output}; the same command goes on there", highlight=False)
        raise
    scores = score_all(chosen, records)
    figures = {"data_set": name, "every": every, "scenes": _figures(scores), **provenance()}
    write_json(output / "benchmark.json", figures)
    if as_json:
        print_json(figures)
        return
    print_scores(chosen, scores)
    print_published(published_for(name))


def score_all(scenes: Sequence[BenchmarkScene], records: Mapping[str, Records]) -> Scores:
    """Scores of all scenes, and their mean where there are several."""
    scores: dict[str, Mapping[str, Mapping[str, Score]]] = {
        scene.name: {search: score_scene(scene, found) for search, found in records[scene.name].items()}
        for scene in scenes
    }
    if len(scenes) > 1:
        searches = records[scenes[0].name]
        scores[MEAN] = {
            search: {"": mean_score([scores[scene.name][search][""] for scene in scenes])} for search in searches
        }
    return scores


def _figures(scores: Scores) -> dict[str, object]:
    return {
        scene: {
            search: {condition or "all": one.figures() for condition, one in by_condition.items()}
            for search, by_condition in by_search.items()
        }
        for scene, by_search in scores.items()
    }


def print_scores(scenes: Sequence[BenchmarkScene], scores: Scores) -> None:
    """Print a row for each scene, way of searching and condition, and the means last."""
    within = [f"{distance:g} m, {angle:g}°" for distance, angle in scenes[0].thresholds]
    numbers = ("found", *within, "position", "rotation", "time")
    table = make_table(("scene", "condition", "search", *numbers), numbers)
    for scene, by_search in scores.items():
        for search, by_condition in by_search.items():
            for condition, one in by_condition.items():
                table.add_row(scene, condition or "all", search, *_cells(one, len(within), scenes[0].unit))
    console.print(table)


def _cells(one: Score, num_thresholds: int, unit: str) -> list[str]:
    percent = [f"{recall.percent:.1f} %" for recall in one.recall] or ["–"] * num_thresholds
    factor = CENTIMETRES if unit == "cm" else 1.0
    position = "–" if one.position_m is None else f"{factor * one.position_m:.2f} {unit}"
    rotation = "–" if one.rotation_deg is None else f"{one.rotation_deg:.2f}°"
    time = "–" if one.search_ms is None else f"{one.search_ms:.1f} ms"
    return [f"{one.found} of {one.queries}", *percent, position, rotation, time]


def print_published(rows: Sequence[Published]) -> None:
    """Print what papers have published for the data set, if anything is known."""
    if not rows:
        return
    columns = list(dict.fromkeys(place for row in rows for place in (*row.recalls, *row.medians_cm)))
    table = make_table(("method", "source", *columns), columns, title="published")
    for row in rows:
        recalls = {place: " / ".join(f"{percent:.1f}" for percent in three) for place, three in row.recalls.items()}
        cells = recalls | {place: f"{median:g} cm" for place, median in row.medians_cm.items()}
        table.add_row(row.method, row.source, *(cells.get(column, "–") for column in columns))
    console.print(table)

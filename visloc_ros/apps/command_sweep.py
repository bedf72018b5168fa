"""``visloc sweep``: the options of a search by lists, a row of figures for each combination."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from visloc_ros import __version__
from visloc_ros.apps.console import AsJson, StageBars, console, make_table, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.options import GroundTruth, MapArgument, read_truth, takes_source_config
from visloc_ros.apps.outputs import check_outputs, write_json
from visloc_ros.core.config import nest, read_mapping
from visloc_ros.core.errors import ConfigError
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.search_comparison import compare_searches, make_engines
from visloc_ros.execution.engine import Resources, SerialEngine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Inputs, Stage, Task, TaskRunner
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.mapping import Recording
from visloc_ros.sources import SourceConfig, open_source

_MOST_ROWS = 10_000
_FIGURES = "figures"


@takes_engine
@takes_source_config
def sweep(
    map_path: MapArgument,
    source: Annotated[Path, typer.Argument(help="Video file, image folder, or ROS 2 bag of the place.")],
    lists: Annotated[Path, typer.Argument(help="YAML file: options of a search, some with a list of values.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for sweep.json and the figures of each row.")],
    source_config: SourceConfig,
    engine: EngineChoice,
    ground_truth: GroundTruth = None,
    as_json: AsJson = False,
) -> None:
    """Search a map with each combination of options: how many images are found, how exactly, how fast.

    Rows that are done stay, as long as the map and the images are the same.

    Example: visloc sweep maps/office query.mp4 lists.yaml --every 15 -o out/sweep --workers 4
    """
    check_outputs(folder=output, is_continued=True)
    rows = list(combinations(read_mapping(lists)))
    configs = [AnchorConfig.from_mapping(nest(row), f"{lists}: ") for row in rows]
    about = describe_inputs(map_path, source, source_config, ground_truth)
    stage = SEARCH.on_device_of(configs[0])
    tasks = [Task(stage, {**about, "options": row}) for row in rows]
    store = ArtifactStore(str(output / "rows"))
    with StageBars() as bars, engine.open_if_given() as workers:
        keys = TaskRunner(workers or SerialEngine(), store, bars).run(tasks)
    found = [json.loads(bytes(store.read(key)[_FIGURES])) for key in keys]
    figures = [{"options": row, **one} for row, one in zip(rows, found, strict=True)]
    write_json(output / "sweep.json", {"rows": figures, **provenance()})
    if as_json:
        print_json({"rows": figures})
    else:
        print_rows(figures)


def combinations(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values in lists, by dotted names. Raises ConfigError where there are too many."""
    flat = dict(_flat(values))
    lists = [value if isinstance(value, list) else [value] for value in flat.values()]
    count = int(np.prod([len(one) for one in lists]))
    if not 0 < count <= _MOST_ROWS:
        raise ConfigError(f"the lists have {count} combinations: give 1 to {_MOST_ROWS}")
    return (dict(zip(flat, row, strict=True)) for row in product(*lists))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def describe_inputs(map_path: Path, source: Path, config: SourceConfig, truth: Path | None) -> dict[str, Any]:
    """What a row depends on besides its options: paths, and digests of what is there."""
    files = open_searchable_map(map_path).manifest.files
    checksums = json.dumps(sorted((name, info.sha256) for name, info in files.items()))
    truth_file = truth.absolute() if truth is not None and truth.exists() else truth  # or a topic of the source
    recording = Recording(source, config, truth_file)
    return {
        "map": [str(map_path.absolute()), hashlib.sha256(checksums.encode()).hexdigest()],
        "recording": replace(recording, reference_poses=None).to_mapping(),
        "truth": None if truth_file is None else str(truth_file),
        "fingerprint": recording.fingerprint(),
        "version": __version__,
    }


def _search(arguments: Mapping[str, Any], _: Inputs) -> dict[str, np.ndarray[Any, Any]]:
    config = AnchorConfig.from_mapping(nest(arguments["options"]))
    recording = Recording.from_mapping(arguments["recording"])
    frames = open_source(recording.path, recording.config)
    truth = read_truth(None if arguments["truth"] is None else Path(arguments["truth"]), frames)
    engines = make_engines(open_searchable_map(Path(arguments["map"][0])), [config.search], config)
    [record] = compare_searches(engines, frames, truth).values()
    return {_FIGURES: np.frombuffer(json.dumps(record.figures()).encode(), np.uint8)}


SEARCH = Stage("combinations", 1, _search, Resources(processors=1.0, memory_bytes=3 << 29))
"""One combination: torch, the models, a map of some hundred images."""


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each combination: the options that differ, and its figures."""
    names = [name for name in rows[0]["options"] if len({str(row["options"][name]) for row in rows}) > 1]
    recalls = [f"{one['distance_m']:g} m, {one['angle_deg']:g}°" for one in rows[0]["recall"]]
    table = make_table((*names, "found", *recalls, "position", "rotation", "search time"), ("found", *recalls))
    for row in rows:
        table.add_row(
            *(str(row["options"][name]) for name in names),
            f"{row['found']} of {row['images']}",
            *(f"{one['percent']:.1f} %" for one in row["recall"]),
            "–" if row["position_m"] is None else f"{100.0 * row['position_m']:.2f} cm",
            "–" if row["rotation_deg"] is None else f"{row['rotation_deg']:.2f}°",
            "–" if row["search_ms"] is None else f"{row['search_ms']:.1f} ms",
        )
    console.print(table)

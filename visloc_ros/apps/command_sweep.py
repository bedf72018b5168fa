"""``visloc sweep``: the options of a search by lists, a row of figures for each combination."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from visloc_ros.apps.console import AsJson, StageBars, console, make_table, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.options import GroundTruth, MapArgument, read_truth, takes_source_config
from visloc_ros.apps.outputs import check_outputs, write_json
from visloc_ros.core.config import nest, read_mapping
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import is_file
from visloc_ros.core.manifest import MANIFEST_NAME
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.search_comparison import compare_searches, make_engines
from visloc_ros.execution.content_key import content_key
from visloc_ros.execution.engine import Resources, SerialEngine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Inputs, Stage, Task, TaskRunner
from visloc_ros.features import FeatureConfig, MatcherConfig, make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.mapping import Recording
from visloc_ros.mapping.recordings import check_unchanged
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

    Rows that are done stay, as long as the map, images, true poses, weights and the program are the same.

    Example: visloc sweep maps/office query.mp4 lists.yaml --every 15 -o out/sweep --workers 4
    """
    check_outputs(folder=output, is_continued=True)
    rows = list(combinations(read_mapping(lists)))
    configs = [AnchorConfig.from_mapping(nest(row), f"{lists}: ") for row in rows]
    truth = None if ground_truth is None else str(ground_truth.absolute() if ground_truth.exists() else ground_truth)
    recording = Recording(source, source_config, Path(truth) if truth and Path(truth).exists() else None)
    open_searchable_map(map_path)  # refuses a broken one
    inputs = {
        "map": content_of_map(map_path),
        "fingerprint": recording.fingerprint(),
        "truth_topic": truth if recording.reference_poses is None else None,
    }
    places = {"map_path": str(map_path.absolute()), "recording": recording.to_mapping(), "truth": truth}
    weights = [weights_of(config.features, config.matcher) for config in configs]
    stage = SEARCH.on_device_of(configs[0])
    tasks = [
        Task(stage, {**inputs, "options": row, "models": list(models)}, places=places)
        for row, models in zip(rows, weights, strict=True)
    ]
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


def content_of_map(path: Path) -> str:
    """Key of the content of a map: its manifest has the checksums of all files."""
    manifest = path / MANIFEST_NAME
    return content_key(manifest if is_file(manifest) else path)


@lru_cache(maxsize=8)
def weights_of(features: FeatureConfig, matcher: MatcherConfig) -> tuple[str, str]:
    """Checksums of the extractor's and the matcher's weights. Raises ConfigError, ModelError."""
    extractor = make_extractor(features).info
    return extractor.sha256, make_matcher(matcher, extractor.name).info.sha256


def _search(arguments: Mapping[str, Any], _: Inputs) -> dict[str, np.ndarray[Any, Any]]:
    config = AnchorConfig.from_mapping(nest(arguments["options"]))
    recording = Recording.from_mapping(arguments["recording"])
    check_unchanged(recording, arguments["fingerprint"])
    frames = open_source(recording.path, recording.config)
    truth = read_truth(None if arguments["truth"] is None else Path(arguments["truth"]), frames)
    engines = make_engines(open_searchable_map(Path(arguments["map_path"])), [config.search], config)
    [record] = compare_searches(engines, frames, truth).values()
    return {_FIGURES: np.frombuffer(json.dumps(record.figures()).encode(), np.uint8)}


SEARCH = Stage("combinations", _search, Resources(processors=1.0, memory_bytes=3 << 29))
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

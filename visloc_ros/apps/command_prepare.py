"""``visloc prepare``: writes into a map what a way of searching other than retrieval needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, StageBars, console, print_json
from visloc_ros.apps.flags import find_map
from visloc_ros.apps.options import ConfigFile, takes_source_config
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.localization.searchable_map import find_strategy, preparation_types
from visloc_ros.localization.strategy import Examples
from visloc_ros.sources import SourceConfig, open_source


@takes_source_config
def prepare(
    maps: Annotated[
        list[Path], typer.Argument(help="Maps to prepare; a network for landmarks is trained for all of them.")
    ],
    source_config: SourceConfig,
    search: Annotated[
        str, typer.Option("--for", help=f"Way of searching to prepare for: {' or '.join(preparation_types())}.")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            help="Frames of a single map's place: its network learns from them, too; for fused, those that it was "
            "built from, of which features are extracted again."
        ),
    ] = None,
    elsewhere: Annotated[
        list[Path] | None,
        typer.Option(help="Map of another place, of which no landmark must be recognised; repeatable."),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Embeddings of what is written in images (.npz, by their names), as queries bring theirs."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Prepare maps for another way of searching. A training can be interrupted; it then continues where it was.

    Example: visloc prepare maps/office --for landmarks
    """
    types = preparation_types()
    if search not in types:
        ways = " or ".join(f"--for {name}" for name in types)
        raise ConfigError(f"there is nothing to prepare for '{search}': give {ways}")
    paths = [path for path in map(find_map, maps) if path is not None]
    frames = None if source is None else open_source(source, source_config)
    others = [path for path in map(find_map, elsewhere or ()) if path is not None]
    options = read_config(types[search], config)
    with StageBars() as bars:
        prepared = find_strategy(search).prepare(paths, options, bars, Examples(frames, others, texts))
    if as_json:
        print_json([{"map": one.path, **one.figures} for one in prepared])
        return
    for one in prepared:
        words = f"{one.path}: {one.words}; search it with anchor.search '{search}'"
        console.print(words, highlight=False, soft_wrap=True)

"""``visloc prepare``: writes into a map what a way of searching other than retrieval needs; plug-ins add such ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, StageBars, console, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.flags import find_map
from visloc_ros.apps.options import ConfigFile, takes_source_config
from visloc_ros.core.config import Config, read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.progress import SilentProgress
from visloc_ros.execution.engine import Resources
from visloc_ros.localization.searchable_map import find_strategy, preparation_types
from visloc_ros.localization.strategy import Examples, PreparedMap
from visloc_ros.sources import SourceConfig, open_source

NEEDS = Resources(processors=1.0, memory_bytes=2 << 30)
"""Of one map: torch, a map of some hundred images, and its descriptors in single precision."""


def _installed() -> str:
    names = [*preparation_types()]
    return " or ".join(names) or "a search of a plug-in, of which none is installed (docs/plugins.md)"


@takes_engine
@takes_source_config
def prepare(
    maps: Annotated[list[Path], typer.Argument(help="Maps to prepare; a network learns of all together.")],
    source_config: SourceConfig,
    engine: EngineChoice,
    search: Annotated[str, typer.Option("--for", help=f"Way of searching to prepare for: {_installed()}.")],
    source: Annotated[
        Path | None,
        typer.Option(
            help="More frames of a single map's place, to learn from; or those that it was built from, of which other "
            "features are extracted."
        ),
    ] = None,
    elsewhere: Annotated[
        list[Path] | None,
        typer.Option(help="Map of another place, of which nothing must be recognised; repeatable."),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Embeddings of what is written in images (.npz, by their names), as queries bring theirs."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Prepare maps for another way of searching. A training can be interrupted; it then continues where it was.

    With --workers or --engine several maps are prepared at once, if they share no network.

    Example: visloc prepare maps/office --for NAME
    """
    types = preparation_types()
    if search not in types:
        raise ConfigError(f"there is nothing to prepare for '{search}': name {_installed()}")
    paths = [path for path in map(find_map, maps) if path is not None]
    frames = None if source is None else open_source(source, source_config)
    others = [path for path in map(find_map, elsewhere or ()) if path is not None]
    options = read_config(types[search], config)
    examples = Examples(frames, others, texts)
    if engine.is_given and frames is not None:
        raise ConfigError(
            "with --source a map is prepared in this process: leave out --engine, --address and --workers"
        )
    with StageBars() as bars:
        if engine.is_given:
            prepared = prepare_at_once(paths, search, options, examples, engine, bars)
        else:
            prepared = find_strategy(search).prepare(paths, options, bars, examples)
    if as_json:
        print_json([{"map": one.path, **one.figures} for one in prepared])
        return
    for one in prepared:
        words = f"{one.path}: {one.words}; search it with anchor.search '{search}'"
        console.print(words, highlight=False, soft_wrap=True)


def prepare_at_once(
    paths: Sequence[Path], search: str, options: Config, examples: Examples, choice: EngineChoice, bars: StageBars
) -> list[PreparedMap]:
    """Prepare maps in workers, each alone or, where they share a network, all in one."""
    groups = [tuple(paths)] if find_strategy(search).prepares_together(options) else [(path,) for path in paths]
    jobs = [tuple(path.absolute() for path in group) for group in groups]
    far = replace(
        examples,
        elsewhere=[path.absolute() for path in examples.elsewhere],
        texts=examples.texts and examples.texts.absolute(),
    )
    bars.stage("maps", len(paths))
    done: dict[Path, PreparedMap] = {}
    with choice.open() as engine:
        for row, prepared in engine.run(
            partial(prepare_in_worker, search, options, far), jobs, NEEDS.on_device_of(options)
        ):
            done |= {path: replace(one, path=path) for path, one in zip(groups[row], prepared, strict=True)}
            bars.advance(len(prepared))
    return [done[path] for path in paths]


def prepare_in_worker(search: str, options: Config, examples: Examples, paths: Sequence[Path]) -> Sequence[PreparedMap]:
    """Prepare maps together."""
    return find_strategy(search).prepare(paths, options, SilentProgress(), examples)

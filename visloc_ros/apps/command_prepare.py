"""``visloc prepare``: what another way of searching than retrieval needs is written into a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import StageBars, console
from visloc_ros.apps.flags import find_map
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.apps.options import ConfigFile, takes_source_config
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.progress import Progress
from visloc_ros.localization.config import FUSED, LANDMARKS
from visloc_ros.localization.strategies.fused.config import FusedConfig
from visloc_ros.localization.strategies.fused.memory import memory_words
from visloc_ros.localization.strategies.fused.preparation import prepare_fused
from visloc_ros.localization.strategies.landmarks.preparation import PreparationConfig, prepare_landmarks
from visloc_ros.localization.strategies.landmarks.text_file import read_texts
from visloc_ros.sources import FrameSource, SourceConfig, open_source

Figures = list[tuple[Path, Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class _Materials:
    """The maps to prepare, the file of options, and what else is learned from."""

    maps: Sequence[Path]
    config: Path | None
    frames: FrameSource | None
    elsewhere: Sequence[Path]
    texts: Path | None


@takes_source_config
def prepare(
    maps: Annotated[list[Path], typer.Argument(help="Maps to prepare; by landmarks, one network is trained for all.")],
    source_config: SourceConfig,
    search: Annotated[str, typer.Option("--for", help=f"Way of searching to prepare for: {LANDMARKS} or {FUSED}.")],
    source: Annotated[
        Path | None,
        typer.Option(
            help="Frames of a single map's place: its recogniser learns from them, too; for fused, those that it was "
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
    """Prepare maps for another way of searching. It can be interrupted; training landmarks then goes on where it was.

    Example: visloc prepare maps/office --for landmarks --source office.mp4 --every 5
    """
    if search not in (LANDMARKS, FUSED):
        raise ConfigError(f"there is nothing to prepare for '{search}': give --for {LANDMARKS} or --for {FUSED}")
    paths = [path for path in map(find_map, maps) if path is not None]
    frames = None if source is None else open_source(source, source_config)
    others = [path for path in map(find_map, elsewhere or ()) if path is not None]
    materials = _Materials(paths, config, frames, others, texts)
    with StageBars() as bars:
        figures = (_prepare_fused if search == FUSED else _prepare_landmarks)(materials, bars)
    if as_json:
        print_json([{"map": path, **one} for path, one in figures])
        return
    for path, one in figures:
        words = _words(search, one)
        console.print(f"{path}: {words}; search it with anchor.search '{search}'", highlight=False, soft_wrap=True)


def _prepare_landmarks(given: _Materials, bars: Progress) -> Figures:
    config = read_config(PreparationConfig, given.config)
    texts = None if given.texts is None else read_texts(given.texts)
    scenes = prepare_landmarks(given.maps, config, bars, given.frames, given.elsewhere, texts)
    return [(scene.path, scene.figures) for scene in scenes]


def _prepare_fused(given: _Materials, bars: Progress) -> Figures:
    if given.elsewhere or given.texts is not None:
        raise ConfigError(
            f"--for {FUSED} learns nothing of other places and of texts: leave --elsewhere and --texts out"
        )
    if given.frames is not None and len(given.maps) > 1:
        raise ConfigError("frames are of one place: prepare its map alone with them")
    options = read_config(FusedConfig, given.config)
    return [(path, prepare_fused(path, options, bars, given.frames).figures) for path in given.maps]


def _words(search: str, figures: Mapping[str, Any]) -> str:
    """What was made, in a line."""
    if search == LANDMARKS:
        return f"{figures['landmarks']} landmarks, {figures['points']} points"
    points = f"{figures['points']} points ({figures['points_percent']:.1f} %), rho {figures['rho']:g}"
    return f"{points}, {memory_words(figures['memory'])}"

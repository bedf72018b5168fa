"""``visloc prepare``: what another way of searching than retrieval needs is written into a map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import StageBars, console
from visloc_ros.apps.flags import find_map
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.apps.options import ConfigFile, takes_source_config
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.localization.config import LANDMARKS
from visloc_ros.localization.strategies.landmarks.preparation import PreparationConfig, prepare_landmarks
from visloc_ros.localization.strategies.landmarks.text_file import read_texts
from visloc_ros.sources import SourceConfig, open_source


@takes_source_config
def prepare(
    maps: Annotated[list[Path], typer.Argument(help="Maps to prepare together: one recogniser tells them apart.")],
    source_config: SourceConfig,
    search: Annotated[str, typer.Option("--for", help="Way of searching to prepare for: landmarks.")],
    source: Annotated[
        Path | None,
        typer.Option(help="Frames of the place (of a single map): the recogniser learns from these, too."),
    ] = None,
    elsewhere: Annotated[
        list[Path] | None, typer.Option(help="Map of another place, of which nothing must be recognised; repeatable.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Embeddings of what is written in images (.npz, by their names), as queries bring theirs."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Prepare maps for another way of searching. It can be interrupted, and then goes on where it was.

    Example: visloc prepare maps/office --for landmarks --source office.mp4 --every 5
    """
    if search != LANDMARKS:
        raise ConfigError(f"there is nothing to prepare for '{search}': give --for {LANDMARKS}")
    paths = [path for path in map(find_map, maps) if path is not None]
    frames = None if source is None else open_source(source, source_config)
    others = [path for path in map(find_map, elsewhere or ()) if path is not None]
    read = None if texts is None else read_texts(texts)
    with StageBars() as bars:
        scenes = prepare_landmarks(paths, read_config(PreparationConfig, config), bars, frames, others, read)
    if as_json:
        print_json([{"map": scene.path, **scene.figures} for scene in scenes])
        return
    for scene in scenes:
        counts = f"{scene.figures['landmarks']} landmarks, {scene.figures['points']} points"
        console.print(f"{scene.path}: {counts}; search it with anchor.search '{LANDMARKS}'", highlight=False)

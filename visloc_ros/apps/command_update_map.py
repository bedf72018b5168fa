"""``visloc update-map``: a map follows its place by recordings made there, and can go back to an earlier version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import AsJson, StageBars, console, print_json
from visloc_ros.apps.options import ConfigFile, MapArgument, takes_source_config
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map_versions import DamagedVersion, MapVersion, list_damaged, list_versions, roll_back
from visloc_ros.execution.content_key import content_key
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.sources import SourceConfig, open_source


@takes_source_config
def update_map(
    map_path: MapArgument,
    source_config: SourceConfig,
    recording: Annotated[Path | None, typer.Argument(help="Video, image folder or ROS 2 bag made in the map.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the versions of the map.")] = False,
    rollback: Annotated[
        int | None,
        typer.Option(
            help="Put this version in the place of the present one, which is kept; 0 for the one it was made of.",
            show_default=False,
            min=0,
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Update a map by a recording made in it: what is gone leaves the map, what is new joins it.

    Only images that are located surely, and whose neighbours agree, change the map; a recording of another place, with
    a wrong calibration, or that has taught the map already is refused, and changes nothing. Earlier versions stay in
    the folder.

    Once a week: visloc update-map maps/office monday.mp4

    Back to the version that it was made of: visloc update-map maps/office --rollback 0
    """
    if sum((recording is not None, list_, rollback is not None)) != 1:
        raise ConfigError("name a recording to learn from, or give --list, or --rollback VERSION")
    if list_:
        _list(list_versions(map_path), list_damaged(map_path), as_json)
    elif rollback is not None:
        manifest = roll_back(map_path, rollback or None)
        _print({"map": map_path, "version": manifest.version}, f"{map_path} is version {manifest.version} now", as_json)
    else:
        assert recording is not None
        frames, options = open_source(recording, source_config), read_config(MappingConfig, config)
        from visloc_ros.mapping.update.updater import update_map as update  # takes a second

        with StageBars() as bars:
            content = content_key(recording)
            report = update(map_path, frames, options if config else None, content=content, progress=bars)
        _print({"map": map_path, **asdict(report)}, str(report), as_json)


def _print(values: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        print_json(values)
    else:
        console.print(words, highlight=False, soft_wrap=True)


def _list(versions: Sequence[MapVersion], damaged: Sequence[DamagedVersion], as_json: bool) -> None:
    values = [
        {
            "version": one.number,
            "present": one.is_present,
            "images": one.manifest.counts.get("images", 0),
            "points": one.manifest.counts.get("points", 0),
            "made_of": next(reversed(one.manifest.history), None),
            "session": next(reversed(one.manifest.sessions), None),
        }
        for one in versions
    ]
    lines = [*map(_describe, versions), *(f"! {one.problem}" for one in damaged)]
    _print({"versions": values, "damaged": [asdict(one) for one in damaged]}, "\n".join(lines), as_json)


def _describe(version: MapVersion) -> str:
    counts = version.manifest.counts
    mark = "*" if version.is_present else " "
    words = f"{mark} {version.number:>3}  {counts.get('images', 0)} images, {counts.get('points', 0)} points"
    step: Mapping[str, Any] = next(reversed(version.manifest.history), {})
    session: Mapping[str, Any] = next(reversed(version.manifest.sessions), {})
    if not step:
        return words
    by = f" by '{session.get('name')}' on {session.get('date')}" if step["change"] == "update" else ""
    return f"{words}, made of {step['version']} ({step['change']}{by})"

"""``visloc maps atlas``: several maps in one frame."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros import mapping
from visloc_ros.apps.console import AsJson, StageBars, console, print_advice, print_json
from visloc_ros.apps.options import Overwrite
from visloc_ros.core.atlas_file import to_mapping


def atlas(
    paths: Annotated[
        list[Path], typer.Argument(help="Maps, the one first whose frame the atlas has.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write, beside the maps.")],
    transforms: Annotated[
        Path | None, typer.Option(help="File like atlas.yaml with the places of maps, where they share no images.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Put maps into one frame without copying or changing them, by what they share; all that search a map take it.

    Example: visloc maps atlas maps/office maps/corridor maps/hall --output maps/floor
    """
    with StageBars() as bars:
        summary = mapping.make_atlas(paths, output, transforms, overwrite=overwrite, progress=bars)
    if as_json:
        print_json({"atlas": output, "maps": {one.name: to_mapping(one) for one in summary.maps}})
        return
    for one in summary.maps:
        console.print(f"{one.name}: {one.placed_by}", highlight=False, soft_wrap=True)
    print_advice(summary.advice)

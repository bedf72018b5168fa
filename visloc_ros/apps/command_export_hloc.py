"""``visloc export-hloc``: a map as the files that stock hloc and COLMAP read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import console
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.apps.options import ConfigFile, MapArgument, takes_source_config
from visloc_ros.core.config import read_config
from visloc_ros.features import make_extractor
from visloc_ros.localization import AnchorConfig
from visloc_ros.mapping.hloc_export import README_NAME, export_hloc
from visloc_ros.sources import SourceConfig, open_source


@takes_source_config
def export_hloc_map(
    map_path: MapArgument,
    source_config: SourceConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder to write.")],
    queries: Annotated[
        Path | None,
        typer.Option(help="Query frames (video, image folder, bag): their features, intrinsics and pairs come along."),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Map images paired with each query, by VLAD.")] = 10,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a map as stock hloc and COLMAP read it, with a README.txt of the calls that localize in it.

    Example: visloc export-hloc maps/office --output out/office_hloc --queries query.mp4 --every 15
    """
    if queries is None:
        export_hloc(map_path, output)
    else:
        extractor = make_extractor(read_config(AnchorConfig, config).features)
        export_hloc(map_path, output, open_source(queries, source_config), extractor, top_k)
    if as_json:
        print_json({"folder": output, "readme": output / README_NAME})
        return
    console.print(f"written to {output}; {output / README_NAME} says how to localize with it", soft_wrap=True)

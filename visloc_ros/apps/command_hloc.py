"""``visloc export-hloc`` and ``import-hloc``: maps as the files that stock hloc and COLMAP read, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.options import ConfigFile, MapArgument, Overwrite, takes_source_config
from visloc_ros.core.config import read_config
from visloc_ros.features import make_extractor
from visloc_ros.localization import AnchorConfig
from visloc_ros.mapping.hloc_export import README_NAME, export_hloc
from visloc_ros.mapping.hloc_import import import_hloc
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


def import_hloc_map(
    folder: Annotated[Path, typer.Argument(help="Folder with hloc's feature file and COLMAP model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Map folder to write, e.g. maps/office.")],
    extractor: Annotated[
        str, typer.Option(help="What made the features (aliked-n16, disk, hloc:CONF, ...); empty: as the file says.")
    ] = "",
    metric: Annotated[bool, typer.Option("--metric", help="The units of the model are metres.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make a map of a folder of stock hloc: where its file names do not name the extractor, or for --metric.

    Example: visloc import-hloc outputs/sfm_office --extractor disk --output maps/office
    """
    manifest = import_hloc(folder, output, extractor, metric=metric, overwrite=overwrite)
    if as_json:
        made_by = manifest.models["extractor"].name
        print_json({"map": output, "extractor": made_by, "metric": manifest.metric, "counts": dict(manifest.counts)})
        return
    counts = ", ".join(f"{count} {what}" for what, count in manifest.counts.items())
    console.print(f"map '{manifest.name}' of {manifest.models['extractor'].name}: {counts}", soft_wrap=True)

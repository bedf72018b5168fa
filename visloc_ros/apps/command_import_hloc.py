"""``visloc import-hloc``: converts a map folder of stock hloc to a map of this package, with a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import console
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.apps.options import Overwrite
from visloc_ros.mapping.hloc_import import import_hloc


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

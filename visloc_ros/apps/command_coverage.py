"""``visloc maps coverage``: where in a map images can be localized."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.options import MapArgument
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.map import open_map
from visloc_ros.localization.coverage import Coverage
from visloc_ros.mapping.coverage import coverage_of_map

CellSide = Annotated[float | None, typer.Option(min=1e-3, help="Side of a cell in metres; by default it fits the map.")]


def coverage(
    path: MapArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Picture to write, as PNG.")] = None,
    cell: CellSide = None,
    as_json: AsJson = False,
) -> None:
    """Show where in a map images can be localized: the expected share for each cell, and for each heading.

    Example: visloc maps coverage maps/office -o coverage.png
    """
    check_outputs(output)
    map_ = open_map(path, whole=True)
    found = coverage_of_map(map_, cell)
    unit = "m" if map_.manifest.metric else ""
    if output is not None:
        from visloc_ros.evaluation.coverage_plot import write_coverage_plot  # with matplotlib

        names = (f"x {f'[{unit}]' if unit else ''}", f"y {f'[{unit}]' if unit else ''}")
        write_coverage_plot(output, f"Where images can be localized in '{map_.name}'", found, names)
    if as_json:
        print_json({"map": map_.name, **found.to_mapping(), "picture": output})
        return
    console.print(f"{map_.name}: {in_words(found, unit)}", highlight=False, soft_wrap=True)
    if output is not None:
        console.print(f"picture: {output}", highlight=False, soft_wrap=True)


def in_words(found: Coverage, unit: str) -> str:
    """The recall of all cells, and the poorest of them."""
    poorest = min(found.cells(), key=lambda one: one.recall)
    return (
        f"{found.recall:.0%} of images are expected to be localized, in {len(found)} cells of "
        f"{f'{found.cell:g} {unit}'.strip()} at any heading; "
        f"least at {poorest.x:.4g}, {poorest.y:.4g}: {poorest}"
    )

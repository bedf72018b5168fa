"""``visloc maps``: lists, describes, checks, merges, reduces and deletes maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from visloc_ros import mapping
from visloc_ros.apps.command_coverage import coverage
from visloc_ros.apps.command_doctor import examine_map, examine_versions
from visloc_ros.apps.console import AsJson, StageBars, console, make_table, print_json
from visloc_ros.apps.options import MapArgument, Overwrite
from visloc_ros.core.errors import MapError
from visloc_ros.core.files import is_file
from visloc_ros.core.finding import Level
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest
from visloc_ros.core.map_folder import MapEntry, list_maps, read_entry, remove_map
from visloc_ros.localization.searchable_map import reduce_map_to, searches_of
from visloc_ros.mapping.own_error import own_error_in_words

app = typer.Typer(no_args_is_help=True, help="List, describe, check, merge, reduce and delete maps.")

app.command()(coverage)

Maps = Annotated[list[Path], typer.Argument(help="Map folders, or their archives.", show_default=False)]


@app.command("list")
def list_folder(
    folder: Annotated[Path, typer.Argument(help="Folder that the maps lie in.")] = Path("maps"), as_json: AsJson = False
) -> None:
    """List the maps in a folder, those that cannot be read with the reason.

    Example: visloc maps list maps/
    """
    entries = list_maps(folder)
    if as_json:
        print_json([figures(entry) for entry in entries])
        return
    numbers = ("images", "points", "MB")
    table = make_table(("map", *numbers, "metres", "z up", "features", "searched by"), numbers)
    for entry in entries:
        table.add_row(Text(entry.path.name, "red" if entry.problem else ""), *_row(entry))
    console.print(table)
    for entry in entries:
        if entry.problem:
            console.print(f"{entry.path.name}: {entry.problem}", style="red", highlight=False, soft_wrap=True)


@app.command()
def info(path: MapArgument, as_json: AsJson = False) -> None:
    """Describe a map: its content, and the sources of its scale and axes.

    Example: visloc maps info maps/office
    """
    entry = _readable(path)
    if as_json:
        print_json(figures(entry))
        return
    assert entry.manifest is not None
    table = Table(box=None, padding=(0, 2), show_header=False)
    for label, value in _facts(entry, entry.manifest):
        table.add_row(Text(label, "bold"), value)
    console.print(table)


@app.command()
def check(paths: Maps, as_json: AsJson = False) -> None:
    """Open maps and their earlier versions, every file compared to its checksum; exit code 1 if one is broken.

    Example: visloc maps check maps/office maps/corridor
    """
    findings = [(path, one) for path in paths for one in (*examine_map(path), *examine_versions(path))]
    if as_json:
        print_json([{"path": path, **asdict(finding)} for path, finding in findings])
    for path, finding in () if as_json else findings:
        style = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}[finding.level]
        version = "" if finding.subject == "map" else f", {finding.subject}"
        line = Text.assemble((f"{finding.level.value:<8}", style), f"{path}{version}: {finding.text}")
        console.print(line, soft_wrap=True)
    if any(finding.level is Level.ERROR for _, finding in findings):
        raise typer.Exit(1)


@app.command()
def merge(
    paths: Annotated[
        list[Path], typer.Argument(help="Maps of one place, or their archives, the one first whose frame is kept.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Map folder to write, e.g. maps/floor.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make one map of several that overlap, from what they hold: no recording is needed, and they stay as they are.

    Example: visloc maps merge maps/office maps/corridor maps/kitchen --output maps/floor
    """
    with StageBars() as bars:
        summary = mapping.merge_maps(paths, output, overwrite=overwrite, progress=bars)
    if as_json:
        print_json({"map": output, **asdict(summary)})
        return
    console.print(str(summary))


@app.command()
def reduce(
    path: MapArgument,
    search: Annotated[
        str, typer.Option("--for", help="Way of searching to keep, of those that the map is prepared for.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Map folder to write, or a .tar.gz.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a map that holds only what one way of searching needs, for a small computer; the whole one stays.

    Example: visloc maps reduce maps/office --for NAME --output maps/office_small
    """
    whole = _readable(path)
    reduce_map_to(path, search, output, overwrite=overwrite)
    reduced = _readable(output)
    if as_json:
        print_json({"map": output, "bytes": reduced.size, "whole_bytes": whole.size})
        return
    sizes = f"{reduced.size / 1e6:.2f} of {whole.size / 1e6:.2f} MB"
    console.print(f"{output}: {sizes}; search it with anchor.search '{search}'", highlight=False)


@app.command()
def delete(paths: Maps, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete maps, broken ones, too; where one path is no map, nothing is deleted.

    Example: visloc maps delete maps/office
    """
    for path in paths:
        if not is_file(path / MANIFEST_NAME):
            _readable(path)
    if not yes:
        typer.confirm(f"delete {', '.join(map(str, paths))}?", abort=True)
    for path in paths:
        remove_map(path)
        console.print(f"{path} is deleted", highlight=False)


def figures(entry: MapEntry) -> dict[str, Any]:
    """Plain values for JSON; of a map that cannot be read the problem."""
    known = {"path": str(entry.path), "name": entry.path.name, "bytes": entry.size, "problem": entry.problem}
    if entry.manifest is None:
        return known
    manifest, error = asdict(entry.manifest), None
    if entry.manifest.uncertainty is not None and entry.manifest.uncertainty.own_error is not None:
        error = asdict(entry.manifest.uncertainty.own_error)
    for left_out in ("files", "uncertainty", "config", "reduced"):
        del manifest[left_out]
    reduced = entry.manifest.reduced
    searches = {"searches": searches_of(entry.manifest), "reduced": reduced is not None}
    return known | manifest | searches | {"own_error": error}


def _readable(path: Path) -> MapEntry:
    entry = read_entry(path)
    if entry.problem:
        raise MapError(entry.problem)
    return entry


def _row(entry: MapEntry) -> tuple[str, ...]:
    manifest = entry.manifest
    if manifest is None:
        return ("",) * 7
    counts = manifest.counts
    extractor = manifest.models.get("extractor")
    return (
        str(counts.get("images", "")),
        str(counts.get("points", "")),
        f"{entry.size / 1e6:.1f}",
        _yes(manifest.metric),
        _yes(manifest.gravity_aligned),
        "" if extractor is None else extractor.name,
        ", ".join(searches_of(manifest)),
    )


def _facts(entry: MapEntry, manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "made from", manifest.created_from
    yield "images, points", f"{manifest.counts.get('images', 0)}, {manifest.counts.get('points', 0)}"
    yield "reprojection error", f"{manifest.reprojection_error_px:.2f} px"
    yield "own error", own_error_in_words(manifest)
    yield "size", f"{entry.size / 1e6:.1f} MB"
    only = "" if manifest.reduced is None else " only, the rest of the map is not here"
    yield "searched by", f"{', '.join(searches_of(manifest))}{only}"
    yield "metres", _known(manifest.metric, manifest.scale_source, manifest.scale_error, "{:.1%}")
    yield "z up", _known(manifest.gravity_aligned, manifest.gravity_source, manifest.gravity_error_deg, "{:.1f}°")
    if manifest.alignment:
        yield "aligned to", _words(manifest.alignment)
    for one in manifest.merged:
        yield "merged with", _words({"source": one.get("map", ""), **one})
    if manifest.geo_origin:
        yield "origin on the earth", ", ".join(f"{name} {value:.6f}" for name, value in manifest.geo_origin.items())
    for role, model in sorted(manifest.models.items()):
        yield role, f"{model.name} ({model.licence})"
    for camera in manifest.cameras.values():
        known = f", {camera['source']}" if camera.get("source") else ""
        sure = f", focal length to {camera['focal_sigma']:.1%}" if camera.get("focal_sigma") else ""
        yield "camera", f"{camera.get('model', '')} {camera.get('width', '')}x{camera.get('height', '')}{known}{sure}"


def _words(alignment: Mapping[str, Any]) -> str:
    residuals = alignment.get("residuals", {})
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in residuals.items())
    return f"{alignment.get('source', '')}{f' ({numbers})' if numbers else ''}"


def _known(is_known: bool, source: str, error: float | None, form: str) -> str:
    exact = "" if error is None else f", to {form.format(error)}"
    return f"{_yes(is_known)} ({source}{exact})"


def _yes(value: bool) -> str:
    return "yes" if value else "no"

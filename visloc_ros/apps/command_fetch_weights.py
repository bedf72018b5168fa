"""``visloc fetch-weights``: weights that are not in a package, downloaded once and checked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from visloc_ros.apps.console import console
from visloc_ros.apps.download_line import DownloadLine
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.core.errors import ConfigError
from visloc_ros.features.fetching import fetch, find_entries
from visloc_ros.features.weights_catalogue import CATALOGUE


def fetch_weights(
    names: Annotated[list[str] | None, typer.Argument(help="Names of weights, see --list.", show_default=False)] = None,
    show: Annotated[bool, typer.Option("--list", help="List what can be fetched, and stop.")] = False,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Also fetch what no checksum is known of.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download weights of models to torch.hub's folder, where models search them; nothing else downloads them.

    Example: visloc fetch-weights superpoint superpoint-lightglue
    """
    from visloc_ros.features.backends.weights import hub_folder

    if show:
        if as_json:
            print_json([asdict(one) | {"here": one.path(hub_folder()).is_file()} for one in CATALOGUE])
        else:
            print_catalogue(hub_folder())
        return
    if not names:
        raise ConfigError("name the weights to fetch; visloc fetch-weights --list shows them")
    fetched = []
    for entry in find_entries(names):
        console.print(f"{entry.name}: {entry.megabytes:g} MB, licence: {entry.licence}", highlight=False)
        with DownloadLine(entry.file) as line:
            path = fetch(entry, hub_folder(), accept_unverified=accept_unverified, bar=line)
        state = "verified" if entry.sha256 else "not verified"
        console.print(f"{path} ({state})", highlight=False, soft_wrap=True)
        fetched.append({"name": entry.name, "path": path, "licence": entry.licence, "verified": bool(entry.sha256)})
    if as_json:
        print_json(fetched)


def print_catalogue(hub_folder: Path) -> None:
    """Print what can be fetched, under which licence, and what is there already."""
    table = Table(box=None, padding=(0, 2), title_justify="left", title=f"weights in {hub_folder}")
    for header in ("name", "MB", "licence", "for", "checksum", "here"):
        table.add_column(header)
    for entry in CATALOGUE:
        checksum = Text(f"{entry.sha256[:12]}...") if entry.sha256 else Text("not known", "yellow")
        here = "yes" if entry.path(hub_folder).is_file() else ""
        table.add_row(entry.name, f"{entry.megabytes:g}", entry.licence, entry.purpose, checksum, here)
    console.print(table)

"""``visloc fetch-data``: public recordings to try everything with, downloaded once and checked."""

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
from visloc_ros.apps.options import Overwrite
from visloc_ros.core.errors import ConfigError
from visloc_ros.sources.data_fetching import (
    DATA_SETS,
    DataSet,
    Fetched,
    already_there,
    ask_size,
    fetch_data,
    find_data_set,
    record_path,
)


def fetch_data_set(
    name: Annotated[str, typer.Argument(help="Name of a data set, see --list.", show_default=False)] = "",
    show: Annotated[bool, typer.Option("--list", help="List what can be fetched, and stop.")] = False,
    into: Annotated[Path, typer.Option(help="Folder for the data sets, each below its name.")] = Path("data"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Download a public recording with true poses, after printing its size and licence.

    Example: visloc fetch-data tum-fr1-xyz
    """
    if show:
        if as_json:
            print_json([asdict(entry) | {"here": (into / entry.name).is_dir()} for entry in DATA_SETS])
        else:
            print_data_sets(into)
        return
    if not name:
        raise ConfigError("name the data set to fetch; visloc fetch-data --list shows them")
    entry = find_data_set(name)
    fetched = None if overwrite else already_there(entry, into)
    if fetched is None:
        fetched = fetch_asked(entry, into, yes)
    if as_json:
        print_json({"name": entry.name, "licence": entry.licence, **asdict(fetched)})
    else:
        print_fetched(fetched)


def fetch_asked(entry: DataSet, into: Path, yes: bool) -> Fetched:
    """Print size, licence and the state of the checksum, ask, and fetch. Raises Abort where the answer is no."""
    size = ask_size(entry)
    words = f"{size / 1e6:.1f} MB" if size else "of a size that the server does not state"
    console.print(f"{entry.name}: {words}, {entry.url}", highlight=False, soft_wrap=True)
    console.print(f"licence: {entry.licence}", highlight=False)
    if not entry.sha256:
        record = record_path(entry, into)
        note = f"no checksum of it is known: that of the first download is kept in {record}, and later ones must match"
        console.print(note, highlight=False, soft_wrap=True)
    if not yes:
        typer.confirm(f"download it to {into / entry.name}?", abort=True, err=True)
    with DownloadLine(entry.file) as line:
        fetched = fetch_data(entry, into, size, line)
    state = f"verified by {fetched.verified_by}" if fetched.verified_by else "not verified, now recorded"
    console.print(f"SHA-256 {fetched.sha256} ({state})", highlight=False, soft_wrap=True)
    return fetched


def print_fetched(fetched: Fetched) -> None:
    """Name the recordings, which every command takes."""
    for path in fetched.recordings:
        console.print(path, highlight=False, soft_wrap=True)


def print_data_sets(into: Path) -> None:
    """Print what can be fetched, under which licence, and what is there already."""
    table = Table(box=None, padding=(0, 2), title_justify="left", title=f"data sets in {into}")
    for header in ("name", "MB", "licence", "what", "checksum", "here"):
        table.add_column(header)
    for entry in DATA_SETS:
        checksum = Text(f"{entry.sha256[:12]}...") if entry.sha256 else Text("not known", "yellow")
        size = f"{entry.size / 1e6:.0f}" if entry.size else "?"
        here = "yes" if (into / entry.name).is_dir() else ""
        table.add_row(entry.name, size, entry.licence, entry.what, checksum, here)
    console.print(table)

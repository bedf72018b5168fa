"""``visloc fetch-data`` and ``fetch-weights``: public recordings, and weights of models, fetched once and checked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from visloc_ros.apps.console import AsJson, DownloadLine, console, make_table, print_json
from visloc_ros.apps.options import Overwrite
from visloc_ros.core.errors import ConfigError
from visloc_ros.features.fetching import fetch, find_entries
from visloc_ros.features.weights_catalogue import catalogue
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
    columns = ("name", "MB", "licence", "what", "checksum", "here")
    table = make_table(columns, title=f"data sets in {into}")
    for entry in DATA_SETS:
        checksum = Text(f"{entry.sha256[:12]}...") if entry.sha256 else Text("not known", "yellow")
        size = f"{entry.size / 1e6:.0f}" if entry.size else "?"
        here = "yes" if (into / entry.name).is_dir() else ""
        table.add_row(entry.name, size, entry.licence, entry.what, checksum, here)
    console.print(table)


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
            print_json([asdict(one) | {"here": one.path(hub_folder()).is_file()} for one in catalogue()])
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
    columns = ("name", "MB", "licence", "for", "checksum", "here")
    table = make_table(columns, title=f"weights in {hub_folder}")
    for entry in catalogue():
        checksum = Text(f"{entry.sha256[:12]}...") if entry.sha256 else Text("not known", "yellow")
        here = "yes" if entry.path(hub_folder).is_file() else ""
        table.add_row(entry.name, f"{entry.megabytes:g}", entry.licence, entry.purpose, checksum, here)
    console.print(table)

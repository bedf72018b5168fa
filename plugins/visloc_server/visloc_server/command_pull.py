"""``visloc maps pull``: a robot's map becomes a copy of a server's, of which only what is new travels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, StageBars, console, print_json
from visloc_ros.core.files import read_token


def pull(
    url: Annotated[
        str, typer.Argument(help="Address of a 'visloc serve', e.g. http://gpu-box:8090.", show_default=False)
    ],
    path: Annotated[Path, typer.Argument(help="Map folder to bring up to date, or to make.", show_default=False)],
    name: Annotated[str, typer.Option(help="Name of the map there; by default that of the folder.")] = "",
    token_file: Annotated[Path | None, typer.Option(help="File with the token of that server.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a map to the version that a server has; the version that it was stays in its folder.

    Only what is new travels, checked by checksums; an interrupted pull goes on with the same command. Another map, or
    a change that the server lacks, is refused.

    Example: visloc maps pull http://gpu-box:8090 maps/office
    """
    token = read_token(token_file)
    from visloc_server.client import LocalizationClient  # takes a second
    from visloc_server.pulling import pull_map

    with LocalizationClient(url, token) as client, StageBars() as bars:
        report = pull_map(client, name or path.resolve().name, path, progress=bars)
    if as_json:
        print_json({"map": path, **asdict(report)})
        return
    console.print(f"{path}: {report}", highlight=False, soft_wrap=True)

"""``visloc serve``: searches maps over HTTP."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import console
from visloc_ros.apps.options import Search
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import read_token
from visloc_ros.core.map_folder import list_maps
from visloc_ros.execution.this_computer import num_processors
from visloc_ros.localization.config import RETRIEVAL


def serve(
    maps: Annotated[Path, typer.Option(help="Folder that the maps lie in.")] = Path("maps"),
    host: Annotated[str, typer.Option(help="Address to listen on; others than this computer need --token-file.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8090,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that requests must carry, of 16 characters or more.")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="Folder of reports of drives, which the page shows, too.")
    ] = None,
    search: Search = RETRIEVAL,
    memory_gb: Annotated[float, typer.Option(min=0.1, help="Memory that maps may take together.")] = 4.0,
) -> None:
    """A page in the browser, and answers over HTTP: where a camera is, which maps there are; Ctrl-C stops it.

    Example: visloc serve --maps maps/ & then open http://localhost:8090, or
    curl -F image=@query.jpg -F map=office http://localhost:8090/localize
    """
    token = read_token(token_file)
    if not token and not is_loopback(host):
        raise ConfigError(f"anyone who reaches {host} could use it: give --token-file, or leave out --host")
    count = sum(not entry.problem for entry in list_maps(maps))
    from visloc_server.config import ServerConfig, searches_at_once
    from visloc_server.lasting import answer_requests  # takes long, after the checks of the options

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener, suppress(KeyboardInterrupt):
        console.print(f"{count} maps of {maps} are searched at http://{host}:{port}; Ctrl-C stops it", highlight=False)
        memory, processes = int(memory_gb * (1 << 30)), searches_at_once(num_processors()) - 1
        answer_requests(listener, ServerConfig(maps, memory, token, reports, search, processes))
    console.print("stopped")


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

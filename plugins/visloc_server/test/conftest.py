"""The servers that many tests ask: to start one takes a second, and to load a map into it another."""

import shutil
from pathlib import Path

import pytest

from plugins.visloc_server.testing.server_process import running
from visloc_ros.core.map_archive import unpacked

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"


@pytest.fixture(scope="session")
def maps(tmp_path_factory):
    """Two maps of one room, a broken one, and what is none."""
    folder = tmp_path_factory.mktemp("maps")
    with unpacked(DEMO_MAP) as room:
        shutil.copytree(room, folder / "room")
    shutil.copy(DEMO_MAP, folder / "hall.tar.gz")
    (folder / "broken").mkdir()
    (folder / "broken" / "manifest.json").write_text("{")
    (folder / "notes.txt").write_text("secret")
    return folder


@pytest.fixture(scope="session")
def client(maps):
    """Asks a server of these maps, which no test changes."""
    with running(maps) as server:
        yield server.client


@pytest.fixture(scope="session")
def token():
    return "correct-horse-battery"


@pytest.fixture(scope="session")
def guarded_client(maps, token, tmp_path_factory):
    """Asks a server of the same maps that answers only who knows its token."""
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(f"{token}\n")
    with running(maps, "--token-file", str(path)) as server:
        yield server.client

"""What the nodes offer, asked once, and a middleware that talks."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from visloc_ros.core.middleware import PROFILE_VARIABLE

if TYPE_CHECKING:
    from visloc_ros.nodes.interface import NodeInterface


@pytest.fixture(scope="session")
def interfaces() -> list[NodeInterface]:
    """What each node offers, asked of the nodes."""
    from visloc_ros.nodes.interface import list_interfaces

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
        gc.freeze()  # what is there already need not be looked through after each node
        try:
            return list_interfaces(Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz")
        finally:
            gc.unfreeze()


@pytest.fixture
def talking_middleware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets Fast DDS print lines in the processes of a test, as it does by itself on a busy computer."""
    profile = tmp_path / "unknown_tag.xml"
    profile.write_text("<profiles><unknown/></profiles>")
    monkeypatch.setenv(PROFILE_VARIABLE, str(profile))

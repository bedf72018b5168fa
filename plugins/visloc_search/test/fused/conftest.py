"""An exactly known world, prepared for the search by fused descriptors; no test changes it."""

import pytest
from fused_maps import prepared
from synthetic_map import World


@pytest.fixture(scope="session")
def fused_world():
    return World()


@pytest.fixture(scope="session")
def fused_world_map(fused_world, tmp_path_factory):
    return prepared(fused_world.map, tmp_path_factory.mktemp("fused"))

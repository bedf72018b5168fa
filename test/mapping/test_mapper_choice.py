"""Which mapper runs, and what happens where the global one fails."""

import logging
from dataclasses import replace

import pycolmap
import pytest

from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.reconstruction import reconstruct

CONFIG = ReconstructionConfig(threads=1)


@pytest.fixture
def mappers(monkeypatch):
    """Names of the mappers that COLMAP was asked for, in order."""
    asked = []
    for name in ("incremental_mapping", "global_mapping"):
        original = getattr(pycolmap, name)

        def record(*args, _name=name, _original=original, **kwargs):
            asked.append(_name.removesuffix("_mapping"))
            return _original(*args, **kwargs)

        monkeypatch.setattr(pycolmap, name, record)
    return asked


@pytest.mark.parametrize(("limit", "expected"), [(10, "global"), (11, "incremental")])
def test_auto_goes_by_the_number_of_images(scene, mappers, limit, expected):
    result = reconstruct(scene.views, scene.matches(), replace(CONFIG, global_from=limit))
    assert mappers == [expected]
    assert result.num_reg_images() == len(scene.views)


def test_images_that_the_global_mapper_leaves_out_are_mapped_incrementally(scene, mappers, caplog):
    apart = [(i, j) for i in range(7) for j in range(i + 1, 7)] + [(7, 8), (8, 9), (7, 9)]
    with caplog.at_level(logging.WARNING):
        result = reconstruct(scene.views, scene.matches(apart), replace(CONFIG, global_from=2))
    assert mappers == ["global", "incremental"]
    assert "registered 7 of 10 images" in caplog.text
    assert result.num_reg_images() == 7


def test_who_asks_for_the_global_mapper_gets_it(scene, mappers):
    apart = [(i, j) for i in range(7) for j in range(i + 1, 7)] + [(7, 8), (8, 9), (7, 9)]
    reconstruct(scene.views, scene.matches(apart), replace(CONFIG, mapper="global"))
    assert mappers == ["global"]

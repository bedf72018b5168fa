"""The manifest of the small synthetic map that the fixtures of this folder save."""

from visloc_ros.core.map import Manifest, ModelInfo

MANIFEST = Manifest(
    "room",
    "synthetic",
    {"extractor": ModelInfo("random", "none", "ab" * 32)},
    metric=True,
    gravity_aligned=False,
    config={"pairs": {"window": 4}},
)

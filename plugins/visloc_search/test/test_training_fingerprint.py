"""A training goes on from a checkpoint only where all that determines it is the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_search.instances.backends.training import Training
from visloc_search.learning import fingerprint

IMAGE = np.arange(12.0)


class Other:
    """Another training."""


def known(training: type[Any] = Training, image: NDArray[np.floating] = IMAGE, **options: Any) -> str:
    return fingerprint(training, {"seed": 1, **options}, [image])


def test_another_training_image_option_or_content_of_weights_is_another_one(tmp_path: Path) -> None:
    weights, moved = tmp_path / "weights.pth", tmp_path / "moved.pth"
    for path in (weights, moved):
        path.write_bytes(b"weights")
    first = known(weights=str(weights))
    assert first == known(weights=str(moved), device="cuda", max_minutes=3.0)
    others = {known(Other, weights=str(moved)), known(image=IMAGE + 1, weights=str(moved)), known(seed=2)}
    state = weights.stat()
    weights.write_bytes(b"retrain")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len({first, *others, known(weights=str(weights))}) == 5

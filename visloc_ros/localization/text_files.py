"""Files of the texts that images show, as embeddings."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import Array
from visloc_ros.localization.search_hint import unit_embedding

_MOST_NUMBERS = 4096  # of an embedding: 384 to 1536 are usual


def read_texts(path: Path) -> dict[str, Array]:
    """Unit embeddings (E,) by name of a NumPy ``.npz`` file with one array for each image, all of one length.

    Raises ConfigError that says what is wrong.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            texts = {name: unit_embedding(file[name], f"{path}: the text of '{name}'") for name in file.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path} cannot be read as texts ({error}): write it with numpy.savez(FILE, **{{image name: embedding}})"
        ) from error
    _check(path, texts)
    return texts


def _check(path: Path, texts: Mapping[str, Array]) -> None:
    lengths = sorted({len(text) for text in texts.values()})
    if len(lengths) != 1 or lengths[0] > _MOST_NUMBERS:
        found = " and ".join(map(str, lengths)) or "no"
        raise ConfigError(
            f"{path} holds embeddings of {found} numbers: give all of them one length, of at most {_MOST_NUMBERS}"
        )

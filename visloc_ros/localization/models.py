"""Whether a map and the loaded models belong together; and faiss, which is large and loaded only where it is needed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from visloc_ros.core.errors import ManifestError, ModelError
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import Map
from visloc_ros.features.types import LocalExtractor
from visloc_ros.localization.config import RETRIEVAL


def check_models(map_: Map, extractor: LocalExtractor, search: str = RETRIEVAL) -> None:
    """Refuse an extractor that did not make the features that are searched. Raises ManifestError.

    A way of searching may prepare features of another extractor than the map's.
    """
    prepared = _prepared_extractor(map_, search)
    stated = prepared or map_.manifest.models.get("extractor")
    if stated is None:
        raise ManifestError(f"the map '{map_.name}' does not say which extractor made it: build it again")
    if stated.name != extractor.info.name:
        raise ManifestError(
            f"the map '{map_.name}' was made with '{stated.name}', but the engine extracts '{extractor.info.name}': "
            f"set features.name to '{stated.name}', or build the map again"
        )
    check_weights(map_, stated, extractor.info)
    if prepared is not None and prepared != map_.manifest.models.get("extractor"):
        return
    length = map_.images[0].features.descriptors.shape[1] if map_.images else extractor.descriptor_dim  # all have one
    if length != extractor.descriptor_dim:
        raise ManifestError(
            f"the map '{map_.name}' holds descriptors of length {length}, '{extractor.info.name}' makes "
            f"{extractor.descriptor_dim}: build the map again"
        )


def _prepared_extractor(map_: Map, search: str) -> ModelInfo | None:
    """The model that made the features prepared for a way of searching, where the manifest names it."""
    entry = map_.manifest.prepared.get(search, {})
    values = entry.get("extractor") if isinstance(entry, dict) else None
    if not isinstance(values, dict) or not all(
        isinstance(values.get(key), str) for key in ("name", "licence", "sha256")
    ):
        return None
    return ModelInfo(values["name"], values["licence"], values["sha256"])


def check_weights(map_: Map, stated: ModelInfo, here: ModelInfo) -> None:
    """Refuse weights other than those that made a part of the map. Raises ManifestError."""
    if stated.sha256 and here.sha256 and stated.sha256 != here.sha256:
        raise ManifestError(
            f"the map '{map_.name}' was made with other weights of '{stated.name}' (SHA-256 {stated.sha256[:12]}..., "
            f"here {here.sha256[:12]}...): use the same weights file, or build the map again"
        )


def load_faiss(purpose: str, otherwise: str = "") -> Any:
    """The library. Raises ModelError that says what it is needed for, and what to do, where it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise ModelError(f"{purpose} needs faiss: pip install faiss-cpu{otherwise}")
    return importlib.import_module("faiss")

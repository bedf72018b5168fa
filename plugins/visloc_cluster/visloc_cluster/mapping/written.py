"""What a finished build has written, so that the same build again has nothing to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import MANIFEST_NAME, check_files, file_info, read_manifest
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import artifact_key
from visloc_ros.mapping.summary import ImageCount, MapPart, MapSummary


class WrittenMap:
    """A note in the store: of a build by a function of these arguments, the manifests of its maps, and its summary."""

    def __init__(
        self, store: ArtifactStore, output: Path, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> None:
        self._store = store
        self._output = output.absolute()
        self._key = artifact_key("write", function, {**arguments, "output": str(self._output)})

    def summary(self) -> MapSummary | None:
        """The summary of the build, if its maps are all there as it wrote them."""
        if not self._store.has(self._key):
            return None
        note = json.loads(str(self._store.read(self._key)["note"]))
        if all(self._is_there(name, sha256) for name, sha256 in note["manifests"].items()):
            return _read_summary(note["summary"])
        return None

    def note(self, summary: MapSummary) -> None:
        """Note that the maps are written."""
        names = [self._output.name, *(part.name for part in summary.parts)]
        manifests = {name: file_info(self._output.with_name(name) / MANIFEST_NAME).sha256 for name in names}
        note = json.dumps({"manifests": manifests, "summary": asdict(summary)})
        self._store.write(self._key, {"note": np.array(note)})

    def _is_there(self, name: str, sha256: str) -> bool:
        folder = self._output.with_name(name)
        try:
            manifest = read_manifest(folder)
            check_files(folder, manifest, checksums=True)
        except MapError:
            return False
        return file_info(folder / MANIFEST_NAME).sha256 == sha256


def _read_summary(values: dict[str, Any]) -> MapSummary:
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    counts, parts = values["by_source"], values["parts"]
    plain |= {"by_source": tuple(ImageCount(**one) for one in counts), "parts": tuple(MapPart(**one) for one in parts)}
    return MapSummary(**plain)

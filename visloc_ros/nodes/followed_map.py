"""The map whose points are followed: that of the anchor node, also after it loads another one."""

from __future__ import annotations

import threading
from pathlib import Path

from rclpy.impl.rcutils_logger import RcutilsLogger

from visloc_ros.core.errors import VislocError
from visloc_ros.core.map import Map
from visloc_ros.core.map_check import check_map
from visloc_ros.core.types import MapIdentity
from visloc_ros.localization.searchable_map import open_searchable_map


class FollowedMap:
    """The map in use; the map of new anchors is loaded in the background, and taken between two frames.

    Anchors carry its path on their machine. Where this machine has no such map, none is followed until anchors of the
    old one come again.
    """

    def __init__(self, path: Path, logger: RcutilsLogger) -> None:
        """Load the first one. Raises MapError."""
        self.map = open_searchable_map(path)
        self._logger = logger
        self._loading: threading.Thread | None = None
        self._loaded: Map | None = None
        self._tried = ""

    def hear(self, of_anchor: MapIdentity) -> None:
        """An anchor has come from a map that is not in use here."""
        if self._loading is not None or not of_anchor.path or of_anchor.path == self._tried:
            return
        self._tried = of_anchor.path
        self._loading = threading.Thread(target=self._load, args=(Path(of_anchor.path),), daemon=True)
        self._loading.start()

    def take(self) -> Map | None:
        """The map to use from now on, if it has changed; to be called between two frames."""
        if self._loading is None or self._loading.is_alive():
            return None
        self._loading, loaded, self._loaded = None, self._loaded, None
        if loaded is not None:
            self.map, self._tried = loaded, ""
        return loaded

    def _load(self, path: Path) -> None:
        try:
            check_map(path)
            self._loaded = open_searchable_map(path)
        except VislocError as error:
            self._logger.error(f"points of the anchor node's map are not followed, odometry leads alone: {error}")
        else:
            self._logger.info(f"points of the map '{self._loaded.name}' of {path} are followed from now on")

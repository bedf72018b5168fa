"""A report for each of the maps that images were searched in: poses in different frames do not go into one file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from visloc_ros.apps.query_report import QueryReport
from visloc_ros.apps.timings import Spread, stage_spreads
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Anchor


class MapReports:
    """What became of images, by map: of one map in ``folder``, of several in folders with their names below.

    An image that is not found counts for the map that came closest. Raises ConfigError where a name is no folder's.
    """

    def __init__(
        self,
        places: Sequence[Map],
        source: str,
        truth: Trajectory | None,
        calibration: CameraCalibration,
        folder: Path | None,
    ) -> None:
        self._stack = ExitStack()
        if len(places) == 1:
            self._reports = {places[0].name: QueryReport(places[0], source, truth, calibration, folder)}
            return
        self._reports = {
            one.name: QueryReport(one, source, truth, calibration, _below(folder, one.name), f"{one.name}: ")
            for one in places
        }

    def __enter__(self) -> MapReports:
        with ExitStack() as entered:
            for report in self._reports.values():
                entered.enter_context(report)
            self._stack = entered.pop_all()
        return self

    def add(self, name: str, anchor: Anchor, decode_ms: float) -> None:
        """Keep the outcome of an image, and how long it took to read it. Raises OutputError."""
        self._reports[anchor.map.name].add(name, anchor.result, decode_ms)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def stage_spreads(self) -> dict[str, Spread]:
        """Times of the stages, from the reading of an image to its pose, in whichever map."""
        return stage_spreads(chain.from_iterable(report.stages_ms() for report in self._reports.values()))

    def figures(self) -> dict[str, Any]:
        """All images together, and each as in poses.jsonl; of several maps by name."""
        figures = {name: report.figures() for name, report in self._reports.items()}
        return {"maps": figures} if len(figures) > 1 else next(iter(figures.values()))


def _below(folder: Path | None, name: str) -> Path | None:
    if folder is not None and (Path(name).name != name or name == ".."):
        raise ConfigError(f"the map's name '{name}' cannot be that of a folder: leave --output out")
    return None if folder is None else folder / name

"""Writes the output folder of a run: trajectories, summary, configuration, report page, pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from visloc_ros.core.atomic_write import scratch_folder
from visloc_ros.core.trajectory import write_tum
from visloc_ros.evaluation.consistency import write_covariances
from visloc_ros.evaluation.records import AnchorRecord, FrameRecord, RunRecord
from visloc_ros.evaluation.series import run_series
from visloc_ros.evaluation.summary import Summary, summarize
from visloc_ros.evaluation.tiles import key_tiles

REPORT_NAME = "report.html"


def write_results(record: RunRecord, output: Path) -> Path:
    """Write all result files into the folder ``output``, made if needed, and give the path of ``report.html``.

    ``trajectory.tum`` and ``anchors.tum`` hold ``map_from_camera`` of the localized frames and the accepted anchors,
    ``covariances.txt`` the covariances of the former.
    Every file is written beside its place and then renamed, so that a failure leaves earlier results whole.
    Raises OutputError when the folder cannot be written.
    """
    output = Path(output)
    with scratch_folder(output / REPORT_NAME) as workshop:
        _write_files(record, workshop)
        for path in sorted(workshop.iterdir()):
            os.replace(path, output / path.name)
    return output / REPORT_NAME


def to_json(summary: Summary) -> str:
    """A summary as JSON text; a NaN or an infinity is a programming error, never written."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


def to_yaml(config: Mapping[str, Any]) -> str:
    """A configuration as YAML text, in the order given."""
    return str(yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True))


def _write_files(record: RunRecord, folder: Path) -> None:
    # The plotting modules take a second to import, so they are imported only when something is drawn.
    from visloc_ros.evaluation.figures import overview_figure, top_view_figure
    from visloc_ros.evaluation.page import render_page
    from visloc_ros.evaluation.plot_style import style, to_png

    series = run_series(record)
    summary = summarize(record, series)
    config = to_yaml(record.config)
    _write_poses(folder / "trajectory.tum", record.frames)
    _write_poses(folder / "anchors.tum", record.anchors)
    _write_covariances(folder / "covariances.txt", record.frames)
    (folder / "summary.json").write_text(to_json(summary), encoding="utf-8")
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    (folder / REPORT_NAME).write_text(render_page(record, series, summary, config), encoding="utf-8")
    with style():
        overview = overview_figure(record, series, key_tiles(summary))
        (folder / "report.png").write_bytes(to_png(overview))
        (folder / "topview.png").write_bytes(to_png(top_view_figure(record, series)))


def _write_poses(path: Path, items: Sequence[FrameRecord | AnchorRecord]) -> None:
    known = [(item.stamp_ns, item.map_from_camera) for item in items if item.map_from_camera is not None]
    write_tum(path, [stamp for stamp, _ in known], [pose for _, pose in known])


def _write_covariances(path: Path, frames: Sequence[FrameRecord]) -> None:
    posed = (frame for frame in frames if frame.map_from_camera is not None)
    known = [(frame.stamp_ns, frame.covariance) for frame in posed if frame.covariance is not None]
    write_covariances(path, [stamp for stamp, _ in known], [covariance for _, covariance in known])


def _plain(value: Any) -> Any:
    """Turn a configuration's values into types of YAML."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

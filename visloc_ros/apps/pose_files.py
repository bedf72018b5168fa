"""Files of poses, by commands of this package or by others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import read_text
from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.trajectory_files import read_tum


def read_poses(path: Path) -> Trajectory:
    """Poses of a TUM file, or those of the frames that ``visloc localize`` found. Raises SourceError."""
    if path.suffix != ".jsonl":
        return read_tum(path)
    found = {}
    for number, text in enumerate(read_text(path, SourceError).splitlines(), start=1):
        try:
            line = json.loads(text)
            if line["success"]:
                found[int(line["stamp_ns"])] = pose_from_mapping(line["map_from_camera"])
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path}:{number}: no line that visloc localize has written: {error}") from error
    if not found:
        raise SourceError(f"{path} holds no poses")
    return Trajectory(np.array(sorted(found)), tuple(found[stamp_ns] for stamp_ns in sorted(found)))

"""A recording with true poses as a scene: its beginning is mapped, its end is to be found.

For recordings that are no data set with a split of its own, such as a part of one; papers' figures are of other images.
"""

from __future__ import annotations

from pathlib import Path

from visloc_field.scene import INDOOR, BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.core.errors import SourceError
from visloc_ros.sources.datasets import read_dataset

MAPPED_SHARE = 2 / 3


def read_excerpt(folder: Path) -> BenchmarkScene:
    """The images of a folder in a data set's layout that have a true pose [m], with indoor thresholds.

    Raises SourceError.
    """
    layout = read_dataset(folder, rate_hz=0.0)
    if layout is None:
        raise SourceError(f"{folder} is in the layout of no data set that is known: name the folder of a recording")
    camera = layout.camera or layout.camera_by_name
    if layout.ground_truth is None or camera is None:
        missing = "true poses" if camera else "camera"
        raise SourceError(f"{folder} has no {missing}: unpack all files of the recording in it")
    truth = layout.ground_truth
    known = [(one, pose) for one in layout.images if (pose := truth.nearest(one.stamp_ns, 0)) is not None]
    first_query = round(MAPPED_SHARE * len(known))
    database = [DatabaseImage(one.name, one.path, camera, pose) for one, pose in known[:first_query]]
    queries = [QueryImage(one.name, one.path, camera, map_from_camera=pose) for one, pose in known[first_query:]]
    return BenchmarkScene(folder.name, tuple(database), tuple(queries), INDOOR)

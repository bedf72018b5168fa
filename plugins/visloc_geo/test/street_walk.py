"""A rendered street with a few panoramas, and a walk along it: photos whose poses are known exactly."""

import shutil
from pathlib import Path

import numpy as np

from plugins.visloc_geo.testing.street import make_street
from plugins.visloc_geo.testing.street_views import Survey, write_database, write_queries
from visloc_geo.features import describe_globally, describe_locally
from visloc_geo.orientation import rotation_of
from visloc_ros.core.geometry import SE3
from visloc_ros.features.config import FeatureConfig

POSES = [SE3(rotation_of(78.0 + 3.0 * step), np.array([-4.0, step - 2.0, 1.6])) for step in range(3)]
"""Of somebody who walks north and looks across the street."""

FEATURES = FeatureConfig(max_keypoints=512)
"""Of views and photos: enough to locate them, and matched in a third of the time that the usual number takes."""

_SEED, _LENGTH_M = 8, 14.0


def write_walk(folder: Path) -> None:
    """Write ``views``, a database ready for queries, ``truth``, one of the photos, and these alone as ``photos``."""
    street = make_street(_SEED, _LENGTH_M)
    views = write_database(street, folder / "views", Survey(2.0, 4, 400, length_m=_LENGTH_M))
    describe_locally(views, FEATURES)
    describe_globally(views)
    photos = write_queries(street, folder / "truth", POSES)
    (folder / "photos").mkdir()
    for step, name in enumerate(photos.names):
        shutil.copy(photos.image_path(name), folder / "photos" / f"step{step + 8}.jpg")
    camera = photos.view(photos.names[0]).camera
    (folder / "camera.txt").write_text(f"1 PINHOLE {camera.width} {camera.height} {' '.join(map(str, camera.params))}")

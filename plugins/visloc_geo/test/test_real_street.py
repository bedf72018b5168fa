"""Photos of a phone in a street of Lund, each located by the others, against its own GPS tag."""

import numpy as np
import pytest
from source_data import shared_data

from plugins.visloc_geo.benchmarks.streets import LUND, lund_database, photos, without
from visloc_geo.database import GeoDatabase
from visloc_geo.localizer import GeoLocalizer

CHOSEN = ("07", "11", "15", "26")
GPS_SIGMA_M = 5.0


@pytest.fixture(scope="module")
def database(made_once) -> GeoDatabase:
    """All photos as views, of usual features."""
    data = shared_data(LUND).parent
    return GeoDatabase(made_once("lund", lambda folder: lund_database(data, folder)) / LUND)


def test_photos_whose_views_err_by_metres_are_located_by_them(database, tmp_path):
    """What contradicts wrong photos and wrong views does not contradict these."""
    frames = {frame.name.partition(".")[0]: frame for frame in photos(shared_data(LUND))}
    located = 0
    for name in CHOSEN:
        rest = without(database, name, tmp_path / name)
        answer = GeoLocalizer(rest).locate(frames[name])
        tag = database.view(name).position
        if answer.pose is not None:
            located += 1
            known = answer.frame.from_geodetic([tag.latitude, tag.longitude, answer.frame.altitude])[0]
            covariance = answer.pose.covariance[:2, :2] + GPS_SIGMA_M**2 * np.eye(2)
            off = (answer.pose.position - known)[:2]
            assert off @ np.linalg.solve(covariance, off) < 16.0, name
    assert located >= len(CHOSEN) - 1

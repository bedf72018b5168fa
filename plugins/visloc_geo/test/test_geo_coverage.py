"""Where photos can be located by views whose places are known exactly."""

import numpy as np
import pycolmap
import pytest

from visloc_geo.coverage import geo_coverage
from visloc_geo.database import GeoDatabase
from visloc_geo.keypoint_files import write_keypoints
from visloc_geo.view import Orientation, View
from visloc_ros.core.errors import GeoError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.sources.measurements import GeoPosition

ORIGIN = EnuFrame(55.7, 13.2, 40.0)
CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=640, params=[320.0, 320.0, 320.0, 320.0])


def database(folder, *views, heading_known=True):
    """Views at east, north and heading."""
    made = GeoDatabase.create(folder, ORIGIN)
    for number, (east, north, heading) in enumerate(views):
        lat, lng, alt = (float(value) for value in ORIGIN.to_geodetic([east, north, 0.0])[0])
        orientation = Orientation(heading) if heading_known else None
        made.add(View(f"view{number}", GeoPosition(lat, lng, alt, 1.0), orientation, CAMERA))
    return made


def panorama(east, north):
    return [(east, north, heading) for heading in range(0, 360, 45)]


def recalls(coverage):
    """Recalls by heading, by the middle of the cell."""
    return {(round(one.x, 1), round(one.y, 1)): np.array(one.by_heading) for one in coverage.cells()}


def test_a_photo_that_looks_as_a_view_is_located_and_one_that_looks_back_is_not(tmp_path):
    at = recalls(geo_coverage(database(tmp_path, (0.0, 0.0, 90.0), (0.0, 5.0, 90.0)), 5.0))
    assert at[2.5, 2.5][3] > 0.5
    assert at[2.5, 2.5][9] == 0.0


def test_more_views_locate_more(tmp_path):
    one = geo_coverage(database(tmp_path / "one", *panorama(0.0, 0.0)), 5.0)
    more = geo_coverage(database(tmp_path / "more", *panorama(0.0, 0.0), *panorama(30.0, 0.0)), 5.0)
    for place, by_heading in recalls(one).items():
        assert np.all(recalls(more)[place] >= by_heading - 1e-9)
    assert recalls(more)[17.5, 2.5].mean() > recalls(one)[17.5, 2.5].mean()


def test_far_from_all_views_nothing_is_known(tmp_path):
    street = [view for east in range(0, 60, 15) for view in panorama(float(east), 0.0)]
    at = recalls(geo_coverage(database(tmp_path / "street", *street), 5.0))
    assert (22.5, 12.5) in at
    assert max(abs(y) for _, y in at) < 15.0
    tmp_path /= "two"
    at = recalls(geo_coverage(database(tmp_path, *panorama(0.0, 0.0), *panorama(200.0, 0.0)), 5.0))
    assert (2.5, 2.5) in at
    assert (202.5, 2.5) in at
    assert all(min(np.hypot(x, y), np.hypot(x - 200.0, y)) <= 30.0 for x, y in at)


def test_views_with_few_features_locate_less(tmp_path):
    views = database(tmp_path, *panorama(0.0, 0.0))
    before = geo_coverage(views, 5.0).recall
    for name in views.names:
        few = LocalFeatures(
            np.ones((40, 2), np.float32), np.ones(40, np.float32), np.ones((40, 8), np.float32), (640, 640)
        )
        write_keypoints(views.keypoints_path(name), few, "any")
    assert geo_coverage(views, 5.0).recall < 0.5 * before


def test_views_without_headings_name_what_finds_them(tmp_path):
    with pytest.raises(GeoError, match="visloc geo register"):
        geo_coverage(database(tmp_path, (0.0, 0.0, 0.0), heading_known=False))

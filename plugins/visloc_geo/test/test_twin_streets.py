"""Two streets that look the same: a photo is of one of them, and only its own position shows of which."""

from dataclasses import replace

import numpy as np
import pytest
from tagged_street import ORIGIN, Street, localizer_of, make_database, photo

from visloc_geo.orientation import rotation_of
from visloc_geo.solving.types import GeoReason
from visloc_geo.view import View
from visloc_ros.core.geometry import SE3
from visloc_ros.sources.measurements import GeoPosition

FIRST = Street.at(0.0, 0.0, 1)
APART = np.array([300.0, 0.0, 0.0])
SECOND = replace(FIRST, points=FIRST.points + APART)
TRUTH = SE3(rotation_of(8.0, 3.0), np.array([0.5, 30.0, 0.3]))
IN_SECOND = SE3(TRUTH.rotation, TRUTH.translation + APART)


@pytest.fixture(scope="module")
def localizer(tmp_path_factory):
    """Of photos of the first street and of the second one, at the same place in each."""
    database = make_database(tmp_path_factory.mktemp("geo") / "streets", [FIRST, SECOND])
    return localizer_of(database, [FIRST.seen_from(TRUTH, 9), SECOND.seen_from(IN_SECOND, 10)])


def beside(pose, sigma_m, moved=(0.0, 0.0, 0.0)):
    """A phone's position near a pose."""
    latitude, longitude, _ = ORIGIN.to_geodetic(pose.translation + moved)[0].tolist()
    return View("phone", GeoPosition(latitude, longitude, None, sigma_m))


@pytest.mark.parametrize("number", [0, 1])
def test_by_its_image_alone_a_photo_is_of_neither(localizer, number):
    result = localizer.locate(photo(number)).result
    assert result.reason is GeoReason.AMBIGUOUS_PLACE
    assert result.counts["elsewhere"] > 0.5 * result.counts["matches"]


@pytest.mark.parametrize(("number", "truth"), [(0, TRUTH), (1, IN_SECOND)])
def test_its_own_position_decides(localizer, number, truth):
    answer = localizer.locate(photo(number), beside(truth, 5.0, moved=(8.0, -5.0, 0.0)))
    assert np.linalg.norm(answer.pose.position - truth.translation) < 0.3


@pytest.mark.parametrize(
    ("sigma_m", "moved"), [(200.0, (0.0, 0.0, 0.0)), (5.0, (150.0, 0.0, 0.0)), (5.0, (-2000.0, 0.0, 0.0))]
)
def test_a_position_that_is_vague_or_fits_neither_does_not(localizer, sigma_m, moved):
    assert localizer.locate(photo(), beside(TRUTH, sigma_m, moved)).result.reason is GeoReason.AMBIGUOUS_PLACE

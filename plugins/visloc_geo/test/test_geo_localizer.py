import json

import numpy as np
import pytest
from tagged_street import NORTH, ORIGIN, Street, add_view, localizer_of, make_database, photo

from visloc_geo.common_error import CommonError
from visloc_geo.database import GeoDatabase
from visloc_geo.orientation import rotation_of
from visloc_geo.solving.types import GeoKind, GeoReason
from visloc_geo.view import View
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import GeoError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3
from visloc_ros.sources.measurements import GeoPosition

HERE, FAR = Street.at(0.0, 0.0, 1), Street.at(2000.0, 0.0, 2)
OF_FEATURES = ("keypoints", "scores", "descriptors")
TRUTH = SE3(rotation_of(8.0, 3.0), np.array([0.5, 30.0, 0.3]))


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return make_database(tmp_path_factory.mktemp("geo") / "streets", [HERE, FAR])


def test_a_photo_is_located_with_an_uncertainty_that_holds(database):
    (answer,) = [localizer_of(database, [HERE.seen_from(TRUTH, 9)]).locate(photo())]
    assert answer.pose.kind is GeoKind.SOLVED
    error = ORIGIN.from_geodetic(answer.geodetic)[0] - TRUTH.translation
    assert np.linalg.norm(error) < 0.3
    assert error @ np.linalg.solve(answer.pose.covariance[:3, :3], error) < 16.3  # 99.9 %
    heading, pitch, _ = answer.pose.angles_deg
    assert (heading, pitch) == pytest.approx((8.0, 3.0), abs=0.5)
    assert all(name.startswith("street0") for name in answer.pose.references)
    assert set(answer.stage_ms) == {"describe", "retrieve", "match", "solve"}


def test_a_photo_that_shares_more_with_the_views_in_a_mirror_is_refused(database):
    whole = HERE.seen_from(TRUTH, 9)
    half, shown = whole.take(np.arange(0, len(whole), 2)), photo()
    shown.image[:, 320:] = 1  # so that the describer gives the other features for the mirrored image
    answer = localizer_of(database, [half, whole]).locate(shown)
    assert answer.result.reason is GeoReason.MIRRORED
    assert answer.result.counts["matches"] < answer.result.counts["matches_mirrored"]
    assert localizer_of(database, [half, half]).locate(shown).pose is not None
    assert localizer_of(database, [whole, half]).locate(shown).pose is not None


def test_what_an_answer_says_is_plain_json(database):
    answer = localizer_of(database, [HERE.seen_from(TRUTH, 9)]).locate(photo())
    values = json.loads(json.dumps(answer.to_mapping(), allow_nan=False))
    assert (values["success"], values["name"]) == (True, "0.jpg")
    assert (values["latitude"], values["longitude"]) == pytest.approx(answer.geodetic[:2])
    assert np.shape(values["covariance"]) == (6, 6)


@pytest.mark.parametrize("east", [0.0, 2000.0])
def test_a_prior_that_is_2_km_off_changes_no_answer(database, east):
    localizer = localizer_of(database, [HERE.seen_from(TRUTH, 9)])
    latitude, longitude, altitude = ORIGIN.to_geodetic([east, 30.0, 0.0])[0]
    answer = localizer.locate(photo(), View("own", GeoPosition(latitude, longitude, altitude, 5.0)))
    assert np.linalg.norm(ORIGIN.from_geodetic(answer.geodetic)[0] - TRUTH.translation) < 0.3


def test_a_street_that_is_not_in_the_database_is_refused(database):
    elsewhere = Street.at(0.0, 0.0, 3)
    answer = localizer_of(database, [elsewhere.seen_from(TRUTH)]).locate(photo())
    assert (answer.pose, answer.geodetic, answer.result.reason) == (None, None, GeoReason.NOTHING_ALIKE)
    values = json.loads(json.dumps(answer.to_mapping(), allow_nan=False))
    assert not values["success"]
    assert values["text"]


def test_a_photo_that_shows_little_is_refused_before_it_is_matched(database):
    few = HERE.seen_from(TRUTH).take(np.arange(10))
    answer = localizer_of(database, [few]).locate(photo())
    assert (answer.result.reason, answer.result.counts) == (GeoReason.FEW_FEATURES, {"features": 10.0})


@pytest.mark.parametrize(("shared", "is_near"), [(40, False), (300, True)])
def test_the_tag_of_a_single_view_is_an_answer_only_where_the_photo_shares_much_with_it(tmp_path, shared, is_near):
    database = GeoDatabase.create(tmp_path / "streets", ORIGIN)
    add_view(database, "alone", HERE, SE3(NORTH, np.array([0.0, 26.0, 0.0])))
    seen, other = HERE.seen_from(TRUTH, 9), Street.at(0.0, 0.0, 3).seen_from(TRUTH, 9)
    rows = np.random.default_rng(0).permutation(len(seen))[:shared]
    parts = [np.concatenate([getattr(seen, name)[rows], getattr(other, name)]) for name in OF_FEATURES]
    mixed = LocalFeatures(*parts, (640, 480))
    answer = localizer_of(database, [mixed]).locate(photo())
    if is_near:
        assert (answer.pose.kind, answer.pose.best_tag.view) == (GeoKind.TAG, "alone")
    else:
        assert answer.result.reason is GeoReason.ONE_FAR_VIEW


@pytest.fixture
def common(database):
    """The database as one whose registration was 3 m and 2 degrees off."""
    covariance = np.diag([9.0] * 3 + [np.radians(2.0) ** 2] * 3 + [1e-4])
    error = CommonError(np.add(TRUTH.translation, [0.0, 50.0, 0.0]), covariance)
    database.write_settings(**error.to_settings(ORIGIN))
    yield error
    database.write_settings(common_error=None)


def test_an_error_that_all_views_share_is_in_the_covariance(database, common):
    features = HERE.seen_from(TRUTH, 9)
    answer = localizer_of(database, [features]).locate(photo()).pose
    database.write_settings(common_error=None)
    alone = localizer_of(database, [features]).locate(photo()).pose
    assert answer.covariance - alone.covariance == pytest.approx(common.at(alone.position), abs=1e-6)
    assert np.sqrt(answer.covariance[0, 0]) > 50.0 * np.radians(2.0)
    assert answer.heading_sigma_deg > 2.0


def fix_at(position, sigma_m, altitude=True):
    lat, lng, alt = ORIGIN.to_geodetic(position)[0]
    return View("fix", GeoPosition(lat, lng, alt if altitude else None, sigma_m))


@pytest.mark.parametrize("sigma_m", [0.05, 0.5])
def test_a_fix_corrects_what_all_views_share(database, common, sigma_m):
    localizer = localizer_of(database, [HERE.seen_from(TRUTH, 9)])
    alone = localizer.locate(photo()).pose
    fixed = localizer.locate(photo(), fix_at(TRUTH.translation + np.array([1.5, -1.0, 0.0]), sigma_m)).pose
    assert alone.horizontal_sigma_m > 3.0
    assert fixed.horizontal_sigma_m < 1.1 * sigma_m
    assert np.linalg.norm((fixed.position - TRUTH.translation)[:2] - [1.5, -1.0]) < 0.4


def test_a_fix_without_altitude_says_nothing_of_the_height(database, common):
    """The database's origin is 50 m below: its height is no measurement."""
    localizer = localizer_of(database, [HERE.seen_from(TRUTH, 9)])
    alone = localizer.locate(photo()).pose
    fixed = localizer.locate(photo(), fix_at(TRUTH.translation - np.array([0.0, 0.0, 50.0]), 0.5, altitude=False)).pose
    assert fixed.position[2] == pytest.approx(alone.position[2], abs=0.3)
    assert fixed.horizontal_sigma_m < 0.6


def test_a_fix_of_another_height_keeps_its_position(database, common):
    """EXIF's heights are above the sea, a receiver's above the ellipsoid."""
    localizer = localizer_of(database, [HERE.seen_from(TRUTH, 9)])
    fixed = localizer.locate(photo(), fix_at(TRUTH.translation + np.array([0.0, 0.0, 45.0]), 0.5)).pose
    assert fixed.horizontal_sigma_m < 0.6
    assert fixed.position[2] == pytest.approx(0.0, abs=1.0)


def test_a_database_without_positions_says_what_to_add(tmp_path):
    database = GeoDatabase.create(tmp_path / "streets", ORIGIN)
    database.add(View("somewhere", camera=photo().camera))
    np.save(database.descriptor_path("somewhere", "vlad"), np.ones((1, 64), np.float32))
    with pytest.raises(GeoError, match="add photos with GPS tags"):
        localizer_of(database, [])


@pytest.mark.parametrize(("focal_px", "is_estimated"), [(400.0, False), (440.0, True)])
def test_a_focal_length_by_exif_data_is_estimated_unless_the_views_have_the_same(database, focal_px, is_estimated):
    camera = camera_from_params("PINHOLE", 640, 480, [focal_px, focal_px, 320.0, 240.0])
    calibration = CameraCalibration(camera, CalibrationSource.EXIF, 0.05)
    seen = HERE.seen_from(TRUTH, 9)
    answer = localizer_of(database, [seen]).locate(photo().with_calibration(calibration))
    assert (answer.calibration.source is CalibrationSource.ESTIMATED) == is_estimated
    assert answer.calibration.camera.mean_focal_length() == pytest.approx(400.0, rel=0.01)
    assert np.linalg.norm(ORIGIN.from_geodetic(answer.geodetic)[0] - TRUTH.translation) < 0.3

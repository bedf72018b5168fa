import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tagged_street import NORTH, ORIGIN, Street, add_view
from typer.testing import CliRunner

from visloc_geo.common_error import CommonError
from visloc_geo.database import GeoDatabase
from visloc_geo.registration import (
    ReconstructedView,
    contradicted_headings,
    place_views,
    register_views,
    write_poses,
)
from visloc_geo.tag_conflicts import tag_conflicts_of
from visloc_geo.view import Orientation, View
from visloc_geo.view_precision import ViewPrecision
from visloc_ros.apps.cli import app
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.tangent import pose_difference
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.sources.measurements import GeoPosition

STREET = Street.at(0.0, 0.0, 7)
TRUTH = {f"view{step}": SE3(NORTH, np.array([(-1.5, 1.5)[step % 2], 5.0 * step, 0.0])) for step in range(8)}
PRECISION = ViewPrecision(0.05, 0.002)
RECONSTRUCTED = {name: ReconstructedView(pose, PRECISION) for name, pose in TRUTH.items()}


def tag_of(position, sigma_m=None):
    return GeoPosition(*ORIGIN.to_geodetic(position)[0], sigma_m)


def common_of(database):
    return CommonError.of_settings(database.settings(), database.origin)


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """Phone photos: positions 1 m off, no headings."""
    database = GeoDatabase.create(tmp_path_factory.mktemp("geo") / "streets", ORIGIN)
    rng = np.random.default_rng(8)
    tags = {}
    for name, pose in TRUTH.items():
        add_view(database, name, STREET, pose)
        tags[name] = tag_of(pose.translation + rng.normal(0.0, 1.0, 3), 1.0)
        database.update(View(name, tags[name], None, database.view(name).camera))
    write_poses(database, register_views(database, NearestMatcher(0.5)))
    return database, tags


def test_registered_views_agree_among_each_other_and_get_headings(registered):
    database, tags = registered
    errors = []
    for name, pose in TRUTH.items():
        view = database.view(name)
        at = [view.position.latitude, view.position.longitude, view.position.altitude]
        errors.append(ORIGIN.from_geodetic(at)[0] - pose.translation)
        assert abs((view.orientation.heading_deg + 180.0) % 360.0 - 180.0) < 4.0
        assert view.tagged_position == tags[name]
    assert np.linalg.norm(np.diff(errors, axis=0), axis=1).max() < 0.3  # as tagged: 2 m
    assert 0.3 < common_of(database).sigma_m < 2.0


def test_a_second_registration_starts_from_the_tags(registered):
    database, tags = registered
    before = common_of(database).covariance
    write_poses(database, register_views(database, NearestMatcher(0.5)))
    assert common_of(database).covariance == pytest.approx(before)
    assert [database.view(name).tagged_position for name in tags] == list(tags.values())


def test_a_view_far_from_its_tag_is_named_and_not_used_until_corrected(registered, tmp_path, monkeypatch):
    database, tags = registered
    copy = GeoDatabase(Path(shutil.copytree(database.folder, tmp_path / "streets")))
    view = copy.view("view3")
    moved = replace(tags["view3"], latitude=tags["view3"].latitude + 0.0005)  # 56 m
    far = [moved.latitude, moved.longitude, moved.altitude, moved.sigma]
    copy.update(replace(view, others={**view.others, "tag": far}))
    monkeypatch.setattr("visloc_geo.registration.make_matcher", lambda **_: NearestMatcher(0.5))
    shown = CliRunner().invoke(app, ["geo", "register", str(copy.folder), "--json"], catch_exceptions=False)
    figures = json.loads(shown.stdout)
    assert (figures["registered"], list(figures["misfits"])) == (7, ["view3"])
    assert figures["misfits"]["view3"] == pytest.approx(56.0, abs=4.0)
    assert "not used, since the others" in shown.stderr
    assert "view3 (5" in shown.stderr
    left = copy.view("view3")
    assert (left.position, left.orientation) == (moved, None)
    assert copy.view("view2").orientation is not None
    assert tag_conflicts_of(copy).wrong == ("view3",)
    copy.update(left.retagged(tags["view3"], None))
    assert not tag_conflicts_of(copy)


def test_of_two_halves_of_tags_that_place_a_street_elsewhere_none_is_chosen(registered):
    """As by positions in another datum: either half fits the reconstruction alone."""
    _, tags = registered
    moved = {name: replace(tag, latitude=tag.latitude + 0.001 * (name > "view3")) for name, tag in tags.items()}
    with pytest.raises(GeoError, match="4 views"):
        place_views(RECONSTRUCTED, moved)


@pytest.mark.parametrize("digits", [2, 3])
def test_positions_that_are_rounded_to_one_place_give_no_scale(registered, digits):
    """Their heights alone differ, by noise: a street of 35 m would be placed as one of two, 30 m away."""
    _, tags = registered
    rounded = {
        name: replace(tag, latitude=round(tag.latitude, digits), longitude=round(tag.longitude, digits), sigma=5.0)
        for name, tag in tags.items()
    }
    with pytest.raises(GeoError, match="give the scale only to"):
        place_views(RECONSTRUCTED, rounded)


def test_headings_that_a_wrong_compass_gave_are_named_and_overridden(registered):
    database, tags = registered
    registration = place_views(RECONSTRUCTED, tags)
    shown = {name: 3.0 if number % 2 else 90.0 for number, name in enumerate(TRUTH)}  # the views look north
    views = [View(name, tags[name], Orientation(shown[name], sigma_deg=10.0)) for name in TRUTH]
    found = contradicted_headings(views, registration)
    assert list(found) == [name for name in TRUTH if shown[name] == 90.0]
    assert all(turn == pytest.approx(90.0, abs=20.0) for turn in found.values())
    assert contradicted_headings(database, registration) == {}


def test_a_view_without_a_position_gets_one_that_is_no_tag(registered, tmp_path):
    database, _ = registered
    copy = GeoDatabase(Path(shutil.copytree(database.folder, tmp_path / "streets")))
    copy.update(View("view4", camera=copy.view("view4").camera))
    for _ in range(2):
        write_poses(copy, register_views(copy, NearestMatcher(0.5)))
        view = copy.view("view4")
        assert (view.is_registered, view.tagged_position) == (True, None)
        at = [view.position.latitude, view.position.longitude, view.position.altitude]
        assert np.linalg.norm(ORIGIN.from_geodetic(at)[0] - TRUTH["view4"].translation) < 3.0


def test_a_registration_that_is_killed_leaves_no_view_taken_for_a_registered_one(registered, tmp_path, monkeypatch):
    """Poses of two registrations are metres apart: beside each other each would count as good to decimetres."""
    database, tags = registered
    copy = GeoDatabase(Path(shutil.copytree(database.folder, tmp_path / "streets")))
    again = register_views(copy, NearestMatcher(0.5))
    written, update = [], GeoDatabase.update

    def killed(self, view):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(view.name)
        update(self, view)

    monkeypatch.setattr(GeoDatabase, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        write_poses(copy, again)
    assert {view.name for view in copy if view.is_registered} == set(written)
    assert {view.name: view.position for view in copy if view.name not in written}.items() <= tags.items()


def test_views_that_share_nothing_are_refused(tmp_path):
    database = GeoDatabase.create(tmp_path / "streets", ORIGIN)
    for number in range(2):
        add_view(database, f"view{number}", Street.at(0.0, 0.0, number), TRUTH["view0"])
    with pytest.raises(GeoError, match="no two views"):
        register_views(database, NearestMatcher(0.5))


def test_a_broken_tag_is_refused():
    with pytest.raises(GeoError, match="'tag' of the view 'one' is not latitude"):
        _ = View("one", others={"tag": [1.0]}).tagged_position


@pytest.mark.parametrize(("length_m", "num_views"), [(0.0, 15), (20.0, 15), (100.0, 30)])
def test_the_common_error_holds_for_tags_that_err_together(length_m, num_views):
    """Turned by its tags, a street of 70 m is some degrees off: heading and position, at its middle and at its end."""
    along = 5.0 * np.arange(num_views)
    truth = {f"{row:02d}": SE3(NORTH, np.array([1.5 * (row % 3), y, 0.0])) for row, y in enumerate(along)}
    views = {name: ReconstructedView(pose, PRECISION) for name, pose in truth.items()}
    correlation = np.exp(-np.abs(along[:, None] - along) / length_m) if length_m else np.eye(num_views)
    root, rng = np.linalg.cholesky(correlation), np.random.default_rng(1)
    squares, headings = [], []
    for _ in range(40):
        errors = root @ rng.normal(0.0, 3.0, (num_views, 3))
        tags = {name: tag_of(truth[name].translation + error, 3.0) for name, error in zip(truth, errors, strict=True)}
        placed = place_views(views, tags)
        from_placed = ORIGIN.earth_from_enu.inverse @ placed.frame.earth_from_enu
        for name in ("07", f"{num_views - 1:02d}"):
            pose = placed.poses[name]
            error = pose_difference(from_placed @ pose, truth[name])
            covariance = placed.common.at(pose.translation)
            level = np.array([0, 1, 5])
            squares.append(error[level] @ np.linalg.solve(covariance[np.ix_(level, level)], error[level]) / 3.0)
            headings.append(abs(error[5]) / np.sqrt(covariance[5, 5]))
    assert 0.4 < np.mean(squares) < 1.5
    assert max(headings) < 5.0


def test_the_common_error_holds_for_two_receivers_one_of_which_is_off_to_one_side():
    """Each second tag is 15 m off, three of the sigma that it states: which half is right nobody knows."""
    truth = {f"{row:02d}": SE3(NORTH, np.array([1.5 * (row % 3), 5.0 * row, 0.0])) for row in range(16)}
    views, rng = {name: ReconstructedView(pose, PRECISION) for name, pose in truth.items()}, np.random.default_rng(3)
    sigmas = []
    for _ in range(20):
        errors = rng.normal(0.0, 3.0, (16, 3)) + np.outer(np.arange(16) % 2, [15.0, 0.0, 0.0])
        tags = {name: tag_of(truth[name].translation + error, 5.0) for name, error in zip(truth, errors, strict=True)}
        placed = place_views(views, tags)
        from_placed = ORIGIN.earth_from_enu.inverse @ placed.frame.earth_from_enu
        pose = placed.poses["07"]
        error = pose_difference(from_placed @ pose, truth["07"])[:2]
        sigmas.append(np.sqrt(error @ np.linalg.solve(placed.common.at(pose.translation)[:2, :2], error)))
    assert max(sigmas) < 5.0


def test_a_database_of_an_earlier_version_keeps_its_common_error():
    old = CommonError.of_settings({"common_sigma_m": 3.0}, ORIGIN)
    assert old.at(np.array([100.0, 0.0, 0.0])) == pytest.approx(np.diag([9.0, 9.0, 9.0, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("covariance", [[[1.0]], "much", (-np.eye(7)).tolist(), np.full((7, 7), np.inf).tolist()])
def test_a_broken_common_error_is_refused(covariance):
    settings = {"common_error": {"centre": [55.7, 13.2, 40.0], "covariance": covariance}}
    with pytest.raises(GeoError, match="error of the registration"):
        CommonError.of_settings(settings, ORIGIN)

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tagged_street import NORTH, ORIGIN, Street, add_view
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import SE3
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.geo.database import COMMON_SIGMA, GeoDatabase
from visloc_ros.geo.registration import original_tag, register_views, write_poses
from visloc_ros.geo.view import View
from visloc_ros.sources.measurements import GeoPosition

STREET = Street.at(0.0, 0.0, 7)
TRUTH = {f"view{step}": SE3(NORTH, np.array([(-1.5, 1.5)[step % 2], 5.0 * step, 0.0])) for step in range(8)}


def tag_of(position, sigma_m=None):
    return GeoPosition(*ORIGIN.to_geodetic(position)[0], sigma_m)


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
        assert original_tag(view) == tags[name]
    assert np.linalg.norm(np.diff(errors, axis=0), axis=1).max() < 0.3  # as tagged: 2 m
    assert 0.3 < database.settings()[COMMON_SIGMA] < 2.0


def test_a_second_registration_starts_from_the_tags(registered):
    database, tags = registered
    before = database.settings()[COMMON_SIGMA]
    write_poses(database, register_views(database, NearestMatcher(0.5)))
    assert database.settings()[COMMON_SIGMA] == pytest.approx(before)
    assert [original_tag(database.view(name)) for name in tags] == list(tags.values())


def test_a_view_far_from_its_tag_is_named_and_keeps_it(registered, tmp_path, monkeypatch):
    database, tags = registered
    copy = GeoDatabase(Path(shutil.copytree(database.folder, tmp_path / "streets")))
    view = copy.view("view3")
    moved = replace(tags["view3"], latitude=tags["view3"].latitude + 0.0005)  # 56 m
    far = [moved.latitude, moved.longitude, moved.altitude, moved.sigma]
    copy.update(replace(view, others={**view.others, "tag": far}))
    monkeypatch.setattr("visloc_ros.geo.registration.make_matcher", lambda **_: NearestMatcher(0.5))
    shown = CliRunner().invoke(app, ["geo", "register", str(copy.folder), "--json"], catch_exceptions=False)
    figures = json.loads(shown.stdout)
    assert (figures["registered"], list(figures["misfits"])) == (7, ["view3"])
    assert figures["misfits"]["view3"] == pytest.approx(56.0, abs=4.0)
    assert "left as tagged" in shown.stderr
    assert "view3 (5" in shown.stderr
    left = copy.view("view3")
    assert (left.position, left.orientation) == (moved, None)
    assert copy.view("view2").orientation is not None


def test_views_that_share_nothing_are_refused(tmp_path):
    database = GeoDatabase.create(tmp_path / "streets", ORIGIN)
    for number in range(2):
        add_view(database, f"view{number}", Street.at(0.0, 0.0, number), TRUTH["view0"])
    with pytest.raises(GeoError, match="no two views"):
        register_views(database, NearestMatcher(0.5))


def test_a_broken_tag_is_refused():
    with pytest.raises(GeoError, match="'tag' of the view 'one' is not latitude"):
        original_tag(View("one", others={"tag": [1.0]}))

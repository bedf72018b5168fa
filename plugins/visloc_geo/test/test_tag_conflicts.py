import json
from dataclasses import replace

import numpy as np
import pytest
from tagged_street import NORTH, ORIGIN, Street, add_view, localizer_of, make_database, photo
from typer.testing import CliRunner

from visloc_geo.alike_views import match_alike_views, read_alike_views
from visloc_geo.orientation import rotation_of
from visloc_geo.registration import tags_to_place
from visloc_geo.solving.types import GeoReason
from visloc_geo.tag_conflicts import TagConflicts, tag_conflicts_of
from visloc_geo.view import MISFIT
from visloc_ros.apps.cli import app
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.progress import SilentProgress
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.sources.measurements import GeoPosition

HERE, FAR = Street.at(0.0, 0.0, 1), Street.at(2000.0, 0.0, 2)
OF_HERE = [f"street0_{step:02d}" for step in range(12)]


@pytest.fixture
def database(tmp_path):
    database = make_database(tmp_path / "streets", [HERE, FAR])
    assert match_alike_views(database, NearestMatcher(0.5)) == 24
    return database


def tag_elsewhere(database, names, north_m):
    for name in names:
        view = database.view(name)
        at = ORIGIN.from_geodetic([view.position.latitude, view.position.longitude, view.position.altitude])[0]
        database.update(
            replace(view, position=GeoPosition(*ORIGIN.to_geodetic(at + np.array([0.0, north_m, 0.0]))[0], 0.05))
        )


def located_at(database, north_m):
    truth = SE3(rotation_of(8.0, 3.0), [0.5, north_m, 0.3])
    return localizer_of(database, [HERE.seen_from(truth, 9)]).locate(photo())


def test_right_tags_of_two_streets_contradict_nothing(database):
    assert tag_conflicts_of(database) == TagConflicts()
    assert not str(TagConflicts())


def test_of_two_halves_whose_tags_contradict_nobody_knows_which_is_right(database):
    tag_elsewhere(database, OF_HERE[6:], 300.0)
    found = tag_conflicts_of(database)
    assert (list(found.wrong), list(found.doubtful)) == ([], OF_HERE)
    assert "12 views (street0_00, " in str(found)
    for north_m in (15.0, 75.0):
        answer = located_at(database, north_m)
        assert (answer.pose, answer.result.reason, answer.result.best_tag) == (None, GeoReason.TAGS_CONTRADICT, None)


def test_a_few_wrong_tags_are_named_and_the_others_locate(database, caplog):
    tag_elsewhere(database, OF_HERE[4:6], 300.0)
    found = tag_conflicts_of(database)
    assert (list(found.wrong), list(found.doubtful)) == (OF_HERE[4:6], [])
    answer = located_at(database, 30.0)
    assert abs(ORIGIN.from_geodetic(answer.geodetic)[0] - [0.5, 30.0, 0.3]).max() < 0.5
    assert not set(OF_HERE[4:6]) & set(answer.pose.references)
    assert "street0_04, street0_05" in caplog.text


def test_tags_in_another_order_are_all_doubtful(database):
    tags = [database.view(name).position for name in OF_HERE]
    for name, tag in zip(
        OF_HERE, [replace(one, latitude=one.latitude + 0.01 * row**2) for row, one in enumerate(tags)], strict=True
    ):
        database.update(replace(database.view(name), position=tag))
    assert list(tag_conflicts_of(database).doubtful) == OF_HERE


def with_tags_of(database, others):
    """The views of the first street with each other's positions, and headings as they were."""
    tags = [database.view(name).position for name in others]
    for name, tag in zip(OF_HERE, tags, strict=True):
        view = database.view(name)
        database.update(replace(view, position=replace(tag, sigma=5.0)))


def test_positions_of_the_way_back_are_doubtful(database):
    with_tags_of(database, OF_HERE[::-1])
    assert list(tag_conflicts_of(database).doubtful) == OF_HERE
    answer = located_at(database, 30.0)
    assert (answer.pose, answer.result.reason) == (None, GeoReason.TAGS_CONTRADICT)
    with pytest.raises(GeoError, match=r"12 views \(street0_00, .* are not theirs.*correct"):
        tags_to_place(database)


def test_single_positions_elsewhere_leave_those_of_the_others_theirs(database):
    """Half of the directions between the views lead to them, or from them."""
    for row, name in enumerate(OF_HERE[1::3]):
        view = database.view(name)
        longitude = view.position.longitude + 0.01 * (-1) ** row * (row + 1)
        database.update(replace(view, position=replace(view.position, longitude=longitude)))
    assert list(tag_conflicts_of(database).wrong) == OF_HERE[1::3]
    assert set(tags_to_place(database)) == set(database.names)


def test_positions_in_another_order_are_doubtful_within_their_errors(database):
    with_tags_of(database, [OF_HERE[row] for row in (4, 9, 1, 7, 11, 2, 6, 0, 8, 3, 10, 5)])
    assert list(tag_conflicts_of(database).doubtful) == OF_HERE


@pytest.mark.parametrize("turn_deg", [0.0, 40.0, 90.0])
def test_positions_are_right_whatever_compasses_show(database, turn_deg):
    for name in database.names:
        view = database.view(name)
        heading = (view.orientation.heading_deg + turn_deg) % 360.0
        database.update(replace(view, orientation=replace(view.orientation, heading_deg=heading, sigma_deg=12.0)))
    assert tag_conflicts_of(database) == TagConflicts()


def test_altitudes_that_contradict_each_other_count_little(database):
    for name in OF_HERE[6:]:
        view = database.view(name)
        position = replace(view.position, altitude=view.position.altitude + 80.0)
        database.update(replace(view, position=position))
    found = tag_conflicts_of(database)
    assert (found.doubtful, list(found.heights)) == ((), OF_HERE)
    assert found.heights_off_m == pytest.approx(80.0, abs=2.0)
    assert "altitudes of 12 views" in str(found)
    answer = located_at(database, 45.0)
    error = ORIGIN.from_geodetic(answer.geodetic)[0] - [0.5, 45.0, 0.3]
    assert abs(error[:2]).max() < 0.5
    assert abs(error[2]) < 3.0 * answer.pose.covariance[2, 2] ** 0.5


def test_a_database_of_an_earlier_version_has_distances_alone(database):
    path = database.folder / "alike.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({one: {other: row[other][0] for other in row} for one, row in known.items()}))
    with_tags_of(database, OF_HERE[::-1])
    assert tag_conflicts_of(database) == TagConflicts()


def test_views_are_matched_once_and_new_ones_with_the_old(database):
    assert match_alike_views(database, NearestMatcher(0.5)) == 0
    add_view(database, "new", HERE, SE3(NORTH, [0.0, 33.0, 0.0]))
    assert match_alike_views(database, NearestMatcher(0.5)) == 1
    alike = read_alike_views(database)
    assert len(alike["new"]) == 3
    assert all(one.apart < 1.0 for one in alike["new"].values())


def test_matching_that_is_interrupted_is_continued(tmp_path):
    database = make_database(tmp_path / "streets", [HERE])
    matcher = NearestMatcher(0.5)
    with pytest.raises(KeyboardInterrupt):
        match_alike_views(database, matcher, StoppedAt(5))
    assert len(read_alike_views(database)) == 5
    assert match_alike_views(database, matcher) == 7


class StoppedAt(SilentProgress):
    """Ctrl-C after some steps."""

    def __init__(self, step):
        self._left = step

    def advance(self, steps=1):
        self._left -= steps
        if self._left == 0:
            raise KeyboardInterrupt


def test_a_view_under_the_name_of_a_removed_one_is_matched_anew(database):
    shown = CliRunner().invoke(app, ["geo", "remove", str(database.folder), OF_HERE[5]], catch_exceptions=False)
    assert shown.exit_code == 0
    alike = read_alike_views(database)
    assert OF_HERE[5] not in alike.keys() | {name for row in alike.values() for name in row}
    add_view(database, OF_HERE[5], FAR, SE3(NORTH, [2000.0, 40.0, 0.0]))
    match_alike_views(database, NearestMatcher(0.5))
    assert all(name.startswith("street1") for name in read_alike_views(database)[OF_HERE[5]])
    assert not tag_conflicts_of(database)


def test_a_database_of_wrong_tags_alone_says_what_to_do(database):
    for name in database.names:
        view = database.view(name)
        database.update(replace(view, others={MISFIT: 30.0}))
    with pytest.raises(GeoError, match=r"no view of .* can be used: .*correct the positions"):
        localizer_of(database, [])


def test_a_file_of_alike_views_that_is_broken_is_named(database):
    (database.folder / "alike.json").write_text('{"a": [1]}')
    with pytest.raises(GeoError, match=r"alike\.json"):
        tag_conflicts_of(database)


def test_geo_add_says_which_tags_contradict(database, monkeypatch):
    tag_elsewhere(database, OF_HERE[6:], 300.0)
    shown = CliRunner().invoke(
        app, ["geo", "add", str(database.folder), str(database.folder.parent / "no.jpg"), "--json"]
    )
    assert json.loads(shown.stdout)["doubtful_tags"] == OF_HERE
    assert "12 views (street0_00, " in shown.stderr

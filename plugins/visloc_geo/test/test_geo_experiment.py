import csv
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from plugins.visloc_geo.testing.street_views import ORIGIN
from visloc_geo.answer import GeoAnswer
from visloc_geo.experiment import LocatedQuery, figures, write_arrays
from visloc_geo.orientation import rotation_of
from visloc_geo.solving.types import BestTag, GeoKind, GeoReason, GeoRejection, PhotoPose
from visloc_geo.view import Orientation, View
from visloc_ros.apps.cli import app
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.sources.measurements import GeoPosition

TRUTH = SE3(rotation_of(40.0), np.array([3.0, 4.0, 0.0]))
LATITUDE, LONGITUDE, ALTITUDE = ORIGIN.to_geodetic(TRUTH.translation)[0]


def located(east=0.0, turned_deg=0.0, retrieved=(), **truth):
    """The answer to a photo taken at TRUTH, wrong by metres and degrees."""
    position = TRUTH.translation + np.array([east, 0.0, 0.0])
    rotation = rotation_matrix([0.0, 0.0, np.deg2rad(turned_deg)]) @ TRUTH.rotation
    tag = BestTag("view", TRUTH.translation + np.array([0.0, 7.0, 0.0]), 5.0, 30)
    pose = PhotoPose(GeoKind.SOLVED, position, rotation, np.eye(6), tag, np.arange(40), 80, ("view",), 1.0)
    return LocatedQuery(GeoAnswer(0, "photo", ORIGIN, pose, {"solve": 30.0}, retrieved=retrieved), view(**truth))


def rejected():
    return LocatedQuery(GeoAnswer(0, "photo", ORIGIN, GeoRejection(GeoReason.FEW_MATCHES), {"solve": 10.0}), view())


def view(**changes):
    whole = {"position": GeoPosition(LATITUDE, LONGITUDE, ALTITUDE), "orientation": Orientation(40.0)}
    return View("photo", **{**whole, **changes})


def test_failures_count_as_not_found():
    found = figures([located(0.4, 1.0), located(0.9, 4.0), located(3.0, 1.0), rejected()], {})
    assert [one["percent"] for one in found["recall"]] == [25.0, 50.0, 75.0]
    assert (found["queries"], found["located"], found["rejected"]) == (4, 3, {"FEW_MATCHES": 1})
    assert found["position_error_m"]["median"] == pytest.approx(0.9)
    assert found["heading_error_deg"]["median"] == pytest.approx(1.0)
    assert found["best_tag_error_m"]["median"] == pytest.approx(7.0)
    assert found["milliseconds"]["median"] == pytest.approx(30.0)


def test_a_photo_without_known_place_is_located_but_not_compared():
    found = figures([located(0.4), located(100.0, position=None, orientation=None)], {})
    assert (found["located"], found["with_truth"]) == (2, 1)
    assert [one["percent"] for one in found["recall"]] == [100.0, 100.0, 100.0]


def test_of_a_photo_without_known_heading_the_position_is_compared():
    found = figures([located(2.0, orientation=None)], {})
    assert found["position_error_m"]["median"] == pytest.approx(2.0)
    assert found["heading_error_deg"]["median"] is None


def test_a_height_that_is_not_known_does_not_count():
    query = located(3.0, position=GeoPosition(LATITUDE, LONGITUDE))
    assert query.errors[0] == pytest.approx(3.0, abs=1e-3)


def test_retrieval_is_right_where_a_near_view_is_among_the_first():
    positions = dict(
        zip("abc", ORIGIN.to_geodetic([[503.0, 4, 0], [3, 24, 0], [3, 9, 0]])[:, :2].tolist(), strict=True)
    )
    found = figures([located(retrieved=("a", "b", "c")), rejected()], positions)["retrieval_recall"]
    assert found == {"10 m": {"1": 0.0, "5": 50.0, "10": 50.0}, "25 m": {"1": 0.0, "5": 50.0, "10": 50.0}}
    first = figures([located(retrieved=("c",))], positions)["retrieval_recall"]
    assert first["10 m"]["1"] == 100.0


def test_arrays_have_a_row_for_each_photo_in_the_axes_of_the_metadata(tmp_path):
    write_arrays(tmp_path, [located(0.5), rejected()])
    truths, estimates = np.load(tmp_path / "gt.npy"), np.load(tmp_path / "estm.npy")
    centre = -truths[0, :3, :3].T @ truths[0, :3, 3]
    assert centre == pytest.approx([3.0, 0.0, 4.0], abs=1e-6)  # east, down, north
    moved = -estimates[0, :3, :3].T @ estimates[0, :3, 3]
    assert moved - centre == pytest.approx([0.5, 0.0, 0.0], abs=1e-6)
    assert np.isnan(estimates[1]).all()
    assert np.load(tmp_path / "entries.npy").tolist() == ["photo", "photo"]


def test_an_experiment_in_a_rendered_street(street_walk, tmp_path):
    references, queries = street_walk / "views", tmp_path / "queries"
    shutil.copytree(street_walk / "truth", queries, ignore=lambda _, names: {"photo0000"} & set(names))
    (tmp_path / "conf.yaml").write_text("k: 8\nrerank: false\npolicy: EXPANSION\n", encoding="utf-8")
    arguments = ["--reference_set", str(references), "--query_set", str(queries)]
    arguments += ["--exp_name", "first", "--conf", str(tmp_path / "conf.yaml"), "-o", str(tmp_path / "exp")]
    result = CliRunner().invoke(app, ["geo", "experiment", *arguments])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "exp" / "first"
    found = json.loads((folder / "results.json").read_text())
    assert (found["queries"], found["config"]["policy"]) == (2, "EXPANSION")
    assert found["position_error_m"]["median"] < 0.5
    with (folder / "results.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["photo0001", "photo0002"]
    assert np.load(folder / "estm.npy").shape == (2, 4, 4)
    assert "photo0001" in (folder / "map.html").read_text()
    again = CliRunner().invoke(app, ["geo", "experiment", *arguments[:2], "--query_set", str(references)])
    assert "finds itself" in str(again.exception)

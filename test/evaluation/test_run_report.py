"""The result folder: every file whole, the page self-contained and telling the summary's numbers."""

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from synthetic_run import make_synthetic_run, walk

from visloc_ros.core.advice import ADVICE
from visloc_ros.core.errors import ConfigError, OutputError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.core.types import Reason, State
from visloc_ros.evaluation import evaluate_trajectories, page, report, trajectory_rows
from visloc_ros.evaluation.consistency import read_covariances
from visloc_ros.evaluation.page import render_page
from visloc_ros.evaluation.records import FrameRecord, RunRecord
from visloc_ros.evaluation.report import write_results
from visloc_ros.evaluation.series import run_series
from visloc_ros.evaluation.summary import summarize
from visloc_ros.evaluation.time_plots import draw_errors, draw_states, spans_of
from visloc_ros.evaluation.top_view import horizontal_axes, view_limits

RESULT_FILES = {
    "trajectory.tum", "covariances.txt", "anchors.tum", "summary.json", "config.yaml", "report.html", "report.png",
    "topview.png",
}  # fmt: skip


class Page(HTMLParser):
    """Collects tags, attributes, ids, and the text of elements that carry an id or ``data-figure``."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.open = [], [], [], []
        self.words = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(attributes.get("data-figure") or attributes.get("id"))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "br", "link", "img"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        for name in filter(None, self.open):
            self.words[name] = f"{self.words.get(name, '')} {data.strip()}".strip()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "room"
    run = make_synthetic_run(240)
    path = write_results(run, folder)
    return run, path, Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def long_run():
    return make_synthetic_run(10_000)


@pytest.fixture
def without_figures(monkeypatch):
    """Where only words are looked at: to write five figures as SVG takes a second."""
    monkeypatch.setattr(page, "to_svg", lambda *_: "")


def page_text(path):
    return path.read_text(encoding="utf-8")


def page_of(run):
    return Page(render_page(run, run_series(run), summarize(run), report.to_yaml(run.config)))


def test_all_files_are_there_and_nothing_else(results):
    _, path, _ = results
    assert path.name == "report.html"
    assert {item.name for item in path.parent.iterdir()} == RESULT_FILES


def test_trajectories_are_the_localized_frames_and_the_accepted_anchors(results):
    run, path, _ = results
    localized = [frame for frame in run.frames if frame.map_from_camera is not None]
    trajectory = read_tum(path.parent / "trajectory.tum")
    assert trajectory.stamps_ns.tolist() == [frame.stamp_ns for frame in localized]
    assert all(a.is_close(b.map_from_camera, 1e-8, 1e-5) for a, b in zip(trajectory.poses, localized, strict=True))
    anchors = read_tum(path.parent / "anchors.tum")
    assert len(anchors) == sum(anchor.accepted for anchor in run.anchors)


def test_covariances_of_the_poses_are_kept_beside_them(results):
    run, path, _ = results
    kept = read_covariances(path.parent / "covariances.txt")
    localized = [frame for frame in run.frames if frame.map_from_camera is not None]
    assert list(kept) == [frame.stamp_ns for frame in localized]
    assert all(np.allclose(kept[frame.stamp_ns], frame.covariance, rtol=1e-8, atol=0.0) for frame in localized)


def test_evaluating_the_written_files_gives_the_summary_s_nees(results):
    run, path, _ = results
    folder = path.parent
    covariances = read_covariances(folder / "covariances.txt")
    errors = evaluate_trajectories(
        read_tum(folder / "trajectory.tum"), run.ground_truth, tolerance_s=0.001, covariances=covariances
    )
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert errors.consistency.mean == pytest.approx(summary["nees"]["mean"], rel=1e-4)
    assert trajectory_rows(errors)[-1].label.startswith("covariance")
    with pytest.raises(ConfigError, match="as they came"):
        evaluate_trajectories(run.ground_truth, run.ground_truth, "se3", covariances=covariances)


@pytest.mark.parametrize(
    ("text", "words"), [("1.0 2.0", "expected a stamp and 21"), ("1.0 " + "x " * 21, "not a number")]
)
def test_broken_covariances_are_reported_by_their_line(tmp_path, text, words):
    (tmp_path / "covariances.txt").write_text(f"# stamps\n{text}\n", encoding="utf-8")
    with pytest.raises(SourceError, match=f"covariances.txt:2: {words}"):
        read_covariances(tmp_path / "covariances.txt")


def test_configuration_is_written_as_it_was(results):
    run, path, _ = results
    assert yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8")) == run.config


def test_configurations_of_any_values_can_be_written():
    config = {
        "map": Path("maps/room"),
        "state": State.LOST,
        "size": (640, np.int64(480)),
        "matrix": np.eye(2),
        "x": None,
    }
    assert yaml.safe_load(report.to_yaml(config)) == {
        "map": "maps/room", "state": "LOST", "size": [640, 480], "matrix": [[1.0, 0.0], [0.0, 1.0]], "x": None,
    }  # fmt: skip


def test_pictures_are_png_files_of_some_size(results):
    _, path, _ = results
    for name in ("report.png", "topview.png"):
        content = (path.parent / name).read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
        assert width > 800
        assert height > 500


def test_tiles_show_the_figures_of_the_summary(results):
    _, path, page = results
    summary = json.loads((path.parent / "summary.json").read_text(encoding="utf-8"))
    assert f"{100 * summary['position_error_m']['median']:.3g} cm" in page.words["position_error_m"]
    assert f"max {100 * summary['position_error_m']['max']:.3g} cm" in page.words["position_error_m"]
    assert f"{summary['rotation_error_deg']['median']:.2f}°" in page.words["rotation_error_deg"]
    share = f"{100 * summary['localized_share_after_first_fix']:.1f} %"
    assert share in page.words["localized_share_after_first_fix"]
    assert f"{summary['localized_frames']} of {summary['frames']}" in page.words["localized_share_after_first_fix"]
    assert f"{summary['odometry_fps']:.0f} frames/s" in page.words["odometry_fps"]
    assert f"{summary['time_to_first_fix_s']:.2f} s" in page.words["time_to_first_fix_s"]


def test_every_rejection_is_in_the_table(results):
    _, path, page = results
    anchors = json.loads((path.parent / "summary.json").read_text(encoding="utf-8"))["anchors"]
    assert anchors["rejected"]
    for reason, count in (anchors["rejected"] | anchors["refused_by_fusion"]).items():
        assert re.search(rf"{reason} {count}\b", page.words["rejections"])


def test_page_loads_nothing_and_runs_nothing(results):
    _, path, page = results
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|@import|url\((?!#)", text)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert page.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)


def test_ids_are_unique_and_every_reference_has_its_target(results):
    _, path, page = results
    assert len(page.ids) == len(set(page.ids))
    references = re.findall(r'(?:url\(#|href="#)([^)"]+)', path.read_text(encoding="utf-8"))
    assert references
    assert set(references) <= set(page.ids)


def test_colours_follow_the_theme(results):
    """Figures name CSS variables only, so that the dark theme reaches into them."""
    _, path, _ = results
    text = path.read_text(encoding="utf-8")
    drawn = text[text.index("<main>") :]
    assert not re.search(r"(?:fill|stroke): #(?!0{6})[0-9a-f]{6}", drawn)
    assert "DejaVu" not in drawn
    used, known = set(re.findall(r"var\(--(\w+)\)", text)), set(re.findall(r"--(\w+):", text))
    assert used <= known


def test_without_truth_the_page_says_so(without_figures):
    page = page_of(make_synthetic_run(60, truth=False))
    assert "no ground truth" in page.words["position_error_m"]
    assert "recall" not in page.ids


def test_without_a_fix_the_page_says_so_first(without_figures):
    page = page_of(make_synthetic_run(60, localized=False))
    assert page.words["alert"].startswith("No frame was localized.")
    assert f"11 x FEW_INLIERS: {ADVICE[Reason.FEW_INLIERS]}" in page.words["alert"]


def test_a_run_whose_anchors_never_fused_blames_fusion(without_figures):
    run = make_synthetic_run(60)
    frames = tuple(FrameRecord(frame.stamp_ns, State.INITIALIZING, Reason.SCALE_UNSET) for frame in run.frames)
    anchors = tuple(dataclasses.replace(anchor, fused=None, reason=anchor.reason) for anchor in run.anchors)
    page = page_of(dataclasses.replace(run, frames=frames, anchors=anchors))
    assert "SCALE_UNSET 60" in page.words["alert"]
    assert "scale" in page.words["alert"]


def test_a_run_without_anything_still_gives_a_page():
    page = page_of(RunRecord("empty", ()))
    assert "There were no frames." in page.words["alert"]


def test_one_frame_gives_a_page():
    assert "1 of 1 frames" in page_of(make_synthetic_run(1)).words["localized_share_after_first_fix"]


def test_words_from_outside_are_escaped():
    run = dataclasses.replace(
        make_synthetic_run(5), title="<script>alert(1)</script>", notes=("<b>x</b>",), config={"path": "<img src=x>"}
    )
    page = page_of(run)
    assert not {"script", "img", "b"} & set(page.tags)


def test_lengths_of_a_map_without_scale_are_not_called_metres(without_figures):
    run = dataclasses.replace(make_synthetic_run(40), metric=False)
    words = page_of(run).words["position_error_m"]
    assert "units" in words
    assert "cm" not in words


def test_ten_thousand_frames_make_a_page_of_modest_size(long_run):
    assert len(render_page(long_run, run_series(long_run), summarize(long_run), "")) < 3_000_000


def test_results_are_swapped_in_whole_and_other_files_left_alone(tmp_path):
    """Whoever has the old page open keeps it: the new one comes under its name by a rename.

    All files are there without a fix, too, and a title with dollar signs is no formula.
    """
    folder, kept = tmp_path / "run", tmp_path / "kept.html"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep", encoding="utf-8")
    old = dataclasses.replace(make_synthetic_run(20, localized=False), title="a $ b $_{")
    path = write_results(old, folder)
    kept.hardlink_to(path)
    write_results(make_synthetic_run(40, localized=False), folder)
    assert "20 frames" in kept.read_text(encoding="utf-8")
    assert "40 frames" in path.read_text(encoding="utf-8")
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["frames"] == 40
    assert {item.name for item in folder.iterdir()} == RESULT_FILES | {"mine.txt"}
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "keep"
    lines = (folder / "trajectory.tum").read_text(encoding="utf-8").splitlines()
    assert [line[0] for line in lines] == ["#"]


def test_a_failure_while_writing_keeps_the_earlier_results(results, tmp_path, monkeypatch):
    shutil.copytree(results[1].parent, tmp_path, dirs_exist_ok=True)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    assert before

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "render_page", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write_results(make_synthetic_run(40), tmp_path)
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot write .*taken.*a file is in the way.*choose another"):
        write_results(make_synthetic_run(5), tmp_path / "taken")


def test_thinning_keeps_the_worst_error(long_run):
    frames = list(long_run.frames)
    spoiled = SE3(frames[4321].map_from_camera.rotation, frames[4321].map_from_camera.translation + np.full(3, 0.5))
    frames[4321] = dataclasses.replace(frames[4321], map_from_camera=spoiled)
    run = dataclasses.replace(long_run, frames=tuple(frames))
    series, axes = run_series(run), Figure().add_subplot()
    draw_errors(axes, run, series, "position")
    drawn = axes.lines[0].get_ydata()
    assert np.nanmax(drawn) == pytest.approx(100 * np.nanmax(series.frames.position_error))
    assert len(drawn) <= 2000
    assert np.isnan(drawn).any()  # the gap of the loss is a gap


def test_states_and_supports_are_strips_over_time():
    run = make_synthetic_run(200)
    axes = Figure().add_subplot()
    draw_states(axes, run, run_series(run))
    shown = axes.get_legend_handles_labels()[1]
    assert shown == ["initializing", "localized", "degraded", "lost", "map tracking", "anchor", "odometry"]


def test_consistency_is_reported_of_poses_and_of_innovations(results):
    _, path, page = results
    summary = json.loads((path.parent / "summary.json").read_text(encoding="utf-8"))
    words = page.words["consistency"]
    assert "poses against ground truth (NEES)" in words
    assert "anchor against the prediction (NIS)" in words
    assert f"{summary['nees']['mean']:.1f}" in words
    assert "NEES" in page_text(path)
    assert "95 % chi-square band" in page_text(path)


def test_states_become_spans_without_holes():
    states = [State.INITIALIZING, State.INITIALIZING, State.LOCALIZED, State.LOST]
    assert spans_of(states, np.arange(4.0)) == [
        (State.INITIALIZING, 0.0, 2.0),
        (State.LOCALIZED, 2.0, 3.0),
        (State.LOST, 3.0, 4.0),
    ]
    assert spans_of([], np.empty(0)) == []


@pytest.mark.parametrize(("turn", "plane"), [([0, 1, 2], [0, 1]), ([0, 2, 1], [0, 2]), ([2, 1, 0], [1, 2])])
def test_top_view_looks_along_the_axis_of_least_motion(turn, plane):
    run = RunRecord("turned", (), map_camera_positions=walk(50).positions[:, turn])
    assert horizontal_axes(run, run_series(run)) == plane


def test_far_map_points_do_not_shrink_the_view():
    run = make_synthetic_run(100)
    stray = np.vstack([run.map_points, [[500.0, 0.0, 0.0]]])
    low, high = view_limits(dataclasses.replace(run, map_points=stray), run_series(run))
    assert high[0] < 4.0
    assert (low < run.map_camera_positions[:, :2].min(axis=0)).all()

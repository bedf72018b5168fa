"""Poses on a computer that the nodes share with other programs, or with too little processor time.

Run: python -m benchmarks.load_of_others --data ../shared/data --runs 3 --json results/load_of_others.json
     --markdown results/load_of_others.md --plot results/load_of_others.png

Each demo place is mapped once, and its bag is replayed under every condition in turn: beside 1, 2 or 4 busy programs
that never rest, beside one that copies memory (256 MB, over and over), with all processes on one core, and with the
nodes restricted: to a quota of processor seconds a second, or stopped for 20 of every 30 ms. The player shares the
processors with busy programs, and the one core, but is not restricted. A replay that fails counts as one without a
pose.

Busy programs have the priority of the nodes (nice 0) and their session. Where Linux groups processes by session
(autogroup), each session gets an equal share of the processors, whatever its number of processes: with --own-sessions
each busy program has its own session, as when started from another terminal. (Before Python 3.11 each node has its own
session, too.)
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path

from matplotlib.axes import Axes

from benchmarks.busy_programs import Condition, conditions
from benchmarks.places import SIMULATED, demo_folder, known_truth
from benchmarks.program import add_folders, add_outputs, median, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.apps.replay import ReplayPlan, make_record, run_nodes
from visloc_ros.core.errors import SetupError
from visloc_ros.core.map import open_map
from visloc_ros.evaluation import summarize
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png
from visloc_ros.evaluation.summary import Summary
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag import BagSource

PLACES = (SIMULATED, "7scenes_redkitchen", "euroc_mh05")
CONDITIONS = tuple(condition.name for condition in conditions())
COLORS = (LIGHT.fused, LIGHT.anchor, LIGHT.warn)
Runs = Mapping[str, Mapping[str, Sequence[Figures]]]
"""What was measured, by place and condition."""
FAILED: Figures = {
    "frames": 0,
    "localized_frames": 0,
    "localized_share_after_first_fix": None,
    "time_to_first_fix_s": None,
    "pose_age_ms": None,
    "position_error_m": None,
    "nees": None,
    "wrong_frames": None,
    "anchors": None,
    "frames_dropped": None,
    "processor_share": {},
}
"""Figures of a replay that failed."""
TARGETS = {
    "quiet": (99.0, 1.5, 40.0, 1.1, 0.0),
    "1 busy": (98.0, 2.5, 60.0, 1.15, 0.0),
    "2 busy": (95.0, 4.0, 100.0, 1.25, 0.0),
    "4 busy": (85.0, 10.0, 200.0, 1.5, 0.0),
    "one core": (95.0, inf, 80.0, inf, 0.0),
    "quota 0.5": (inf, inf, inf, inf, 0.0),
    "slowed to a third": (90.0, inf, inf, inf, 0.0),
}
"""Limits of the judged figures that every run is to keep to; infinite: none."""
BY_COUNT = {"quiet": 0, "1 busy": 1, "2 busy": 2, "4 busy": 4}
TITLES = ("frames with a pose after the first fix, %", "first fix, s", "pose age p95, ms", "median error, × quiet")


@dataclass(frozen=True)
class Judged:
    """A figure that has a target: its words, and its value in a run, infinite where there is no pose."""

    name: str
    words: str
    value: Callable[[Figures], float]
    more_is_better: bool = False

    def worst(self, runs: Iterable[Figures]) -> float:
        """The worst value of several runs."""
        return (min if self.more_is_better else max)(map(self.value, runs))

    def holds(self, value: float, limit: float) -> bool:
        """Whether a value keeps to a limit; one that nobody knows keeps to none."""
        return value >= limit if self.more_is_better else value <= limit

    def limit_in_words(self, limit: float) -> str:
        """A limit as in the table of targets."""
        return "–" if limit == inf else f"{'≥' if self.more_is_better else '≤'} {self.words.format(limit)}"


def main() -> None:
    """Replay every place under every condition, several times."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/load_of_others", "maps and bags")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    parser.add_argument("--own-sessions", action="store_true", help="each busy program in a session of its own")
    parser.add_argument("--plot", type=Path, help="picture of the figures by the number of busy programs")
    add_outputs(parser)
    arguments = parser.parse_args()
    chosen = [one for one in conditions(arguments.own_sessions) if one.name in arguments.conditions]
    runs: dict[str, dict[str, list[Figures]]] = {}
    for place in arguments.places:
        folder = demo_folder(place, arguments.work, arguments.data)
        runs[place] = {condition.name: [] for condition in chosen}
        for _ in range(arguments.runs):
            for condition in chosen:
                figures = measure(folder, condition)
                runs[place][condition.name].append(figures)
                print(line_of(place, condition.name, figures), flush=True)
    show(runs, arguments)


def measure(folder: Path, condition: Condition) -> Figures:
    """Figures of one replay under a condition; one that fails is a run without a pose."""
    plan = ReplayPlan(folder / "maps" / folder.name, folder / "query")
    source = BagSource(plan.bag, SourceConfig())
    try:
        with condition.make():
            run = run_nodes(plan, source)
    except SetupError as error:
        return {**FAILED, "failure": str(error)}
    summary = summarize(make_record(plan, source, open_map(plan.map_path), run, known_truth(source)))
    return figures_of(summary, run.recording.fused_anchors(), run.processor_share)


def figures_of(summary: Summary, fused_anchors: tuple[int, int], processor_share: Mapping[str, float]) -> Figures:
    """What is kept of a replay; figures that rest on poses are None where there is none."""
    error_m, nees, found = summary["position_error_m"], summary["nees"], summary["anchors"]
    kept = {"mean": nees["mean"], "mean_band": nees["mean_band"]} if nees else {}
    return {name: summary[name] for name in FAILED if name in summary} | {
        "position_error_m": {name: error_m[name] for name in ("median", "p95")} if error_m else None,
        "nees": {**kept, "mean_is_at_most_band": nees["mean"] <= nees["mean_band"][1]} if nees else None,
        "anchors": {
            "accepted": found["accepted"],
            "rejected": sum(found["rejected"].values()),
            **dict(zip(("fused", "refused_by_fusion"), fused_anchors, strict=True)),
        },
        "processor_share": dict(processor_share),
    }


def localized_percent(run: Figures) -> float:
    """Of the frames after the first fix; 0 without any."""
    return 100.0 * (run["localized_share_after_first_fix"] or 0.0)


def first_fix_s(run: Figures) -> float:
    """From the first frame to the first pose."""
    return inf if run["time_to_first_fix_s"] is None else float(run["time_to_first_fix_s"])


def pose_age_ms(run: Figures) -> float:
    """What the age of 95 % of the poses does not exceed."""
    return inf if run["pose_age_ms"] is None else float(run["pose_age_ms"]["p95"])


def error_cm(run: Figures) -> float:
    """Median error of the position."""
    return inf if run["position_error_m"] is None else 100.0 * float(run["position_error_m"]["median"])


def wrong_poses(run: Figures) -> float:
    """Poses off by more than 10 cm that do not say so."""
    return inf if run["wrong_frames"] is None else float(run["wrong_frames"])


def judged(of_place: Mapping[str, Sequence[Figures]]) -> tuple[Judged, ...]:
    """The figures with targets; errors are compared with the median of the place's quiet runs that have a pose."""
    errors = [known for run in of_place.get("quiet", ()) if (known := error_cm(run)) < inf]
    quiet_cm = median(errors) if errors else nan
    return (
        Judged("localized", "{:.1f} %", localized_percent, more_is_better=True),
        Judged("first fix", "{:.1f} s", first_fix_s),
        Judged("pose age p95", "{:.0f} ms", pose_age_ms),
        Judged("median error", "{:.2f} × quiet", lambda run: error_cm(run) / quiet_cm),
        Judged("wrong poses", "{:.0f}", wrong_poses),
    )


def in_words(value: float, words: str, otherwise: str = "–") -> str:
    """A figure as the format ``words`` puts it, or what is said where there is none."""
    return words.format(value) if isfinite(value) else otherwise


def nees_in_words(run: Figures) -> str:
    """The mean, and whether errors are larger than the covariances allow."""
    nees = run["nees"]
    return f"{nees['mean']:.1f}{'' if nees['mean_is_at_most_band'] else ' (too high)'}" if nees else "–"


def line_of(place: str, condition: str, run: Figures) -> str:
    """What is printed of a replay as it comes."""
    if "failure" in run:
        return f"{place}, {condition}: failed: {run['failure']}"
    fix, age = in_words(first_fix_s(run), "{:.1f} s", "never"), in_words(pose_age_ms(run), "{:.0f} ms")
    shares = ", ".join(f"{name} {share:.2f}" for name, share in run["processor_share"].items())
    return (
        f"{place}, {condition}: localized {localized_percent(run):.1f} % ({run['localized_frames']} of {run['frames']} "
        f"frames), first fix {fix}, pose age p95 {age}, error {in_words(error_cm(run), '{:.2f} cm')}, "
        f"NEES {nees_in_words(run)}, wrong {in_words(wrong_poses(run), '{:.0f}')}, "
        f"anchors {run['anchors']}, not followed {run['frames_dropped']}, "
        f"processor seconds a second: {shares}"
    )


def show(runs: Runs, arguments: argparse.Namespace) -> None:
    """Write the tables, and draw the picture."""
    body = f"{figures_table(runs)}\n\n{targets_table(runs)}"
    if arguments.plot:
        arguments.plot.parent.mkdir(parents=True, exist_ok=True)
        arguments.plot.write_bytes(picture(runs))
        body += f"\n\n![figures by the number of busy programs]({arguments.plot.name})"
    sessions = "each in a session of its own" if arguments.own_sessions else "in the nodes' session"
    write_outputs(arguments, f"Beside busy programs, {sessions}", {**provenance(), "runs": runs}, body)


def figures_table(runs: Runs) -> str:
    """A row for each place and condition; a cell has the figures of all runs."""
    header = (
        *("place", "condition", "localized after the first fix, %", "first fix, s", "pose age p95, ms"),
        *(
            "median error, cm",
            "× quiet",
            "NEES",
            "wrong poses",
            "frames not followed",
            "processor seconds a second, all nodes",
        ),
    )
    rows = [
        (place, condition, *cells(of_condition, judged(of_place)))
        for place, of_place in runs.items()
        for condition, of_condition in of_place.items()
    ]
    return table(header, rows)


def cells(runs: Sequence[Figures], figures: Sequence[Judged]) -> Iterator[str]:
    """The cells of a row after its names."""
    of_quiet = next(one.value for one in figures if one.name == "median error")
    for run_in_words in (
        lambda run: "failed" if "failure" in run else f"{localized_percent(run):.1f}",
        lambda run: in_words(first_fix_s(run), "{:.1f}", "never"),
        lambda run: in_words(pose_age_ms(run), "{:.0f}"),
        lambda run: in_words(error_cm(run), "{:.2f}"),
        lambda run: in_words(of_quiet(run), "{:.2f}"),
        nees_in_words,
        lambda run: in_words(wrong_poses(run), "{:.0f}"),
        lambda run: "–" if run["frames_dropped"] is None else str(run["frames_dropped"]),
        lambda run: f"{sum(run['processor_share'].values()):.2f}" if run["processor_share"] else "–",
    ):
        yield " / ".join(map(run_in_words, runs))


def targets_table(runs: Runs) -> str:
    """A row for each condition that has targets: these, and whether all runs of each place keep to them."""
    rows = [
        (condition, *limits_in_words(limits), *(verdict(of_place, condition) for of_place in runs.values()))
        for condition, limits in TARGETS.items()
        if any(of_place.get(condition) for of_place in runs.values())
    ]
    return table(("condition", *(one.name for one in judged({})), *runs), rows)


def limits_in_words(limits: Sequence[float]) -> Iterator[str]:
    """The targets of a condition."""
    return (one.limit_in_words(limit) for one, limit in zip(judged({}), limits, strict=True))


def verdict(of_place: Mapping[str, Sequence[Figures]], condition: str) -> str:
    """``holds``, or what does not, with the worst of its values; a dash where nothing was measured."""
    if not (runs := of_place.get(condition)):
        return "–"
    with_pose = [run for run in runs if run["localized_frames"]]
    missed = [] if len(with_pose) == len(runs) else [f"no pose in {len(runs) - len(with_pose)} of {len(runs)} runs"]
    for one, limit in zip(judged(of_place), TARGETS[condition], strict=True):
        if with_pose and limit < inf and not one.holds(worst := one.worst(with_pose), limit):
            missed.append(f"{one.name} {in_words(worst, one.words, 'unknown')}")
    return ", ".join(missed) or "holds"


def picture(runs: Runs) -> bytes:
    """The judged figures by the number of busy programs, a panel each."""
    with style():
        figure = new_figure(7.2, 4.8)
        panels = figure.subplots(2, 2, sharex=True).flatten()
        for row, axes in enumerate(panels):
            draw(axes, row, runs)
        for axes in panels[2:]:
            axes.set_xlabel("busy programs beside the nodes")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return to_png(figure)


def draw(axes: Axes, row: int, runs: Runs) -> None:
    """A figure: a line through the medians of each place, and a dot for each run that has a pose."""
    for index, (color, (place, of_place)) in enumerate(zip(COLORS, runs.items(), strict=False)):
        one, aside = judged(of_place)[row], 0.05 * (index - 1)  # or dots would hide each other
        values = {count + aside: [*map(one.value, of_place.get(name, ()))] for name, count in BY_COUNT.items()}
        medians = [median(known) if known else nan for known in values.values()]
        axes.plot([*values], medians, color=color, label=place)
        for count, known in values.items():
            axes.scatter([count] * len(known), known, 14, color, linewidths=0, zorder=3, clip_on=False)
    limits = [TARGETS[name][row] for name in BY_COUNT]
    axes.plot([*BY_COUNT.values()], limits, ":", color=LIGHT.muted, linewidth=1.2, label="target")
    axes.set(title=TITLES[row], xticks=[*BY_COUNT.values()], ylim=(0, None))


if __name__ == "__main__":
    main()

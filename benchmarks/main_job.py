"""The main job several times over: each demo place is mapped once and replayed, and every run is listed.

Run: python -m benchmarks.main_job --data ../shared/data --runs 3 --output results/main_job.json
Machines differ and are noisy: look at the spread, and compare figures of one file only.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.program import new_parser
from benchmarks.results_file import Figures, read_json, write_json
from visloc_ros.evaluation.machine import provenance

REAL_PLACES = ("7scenes_redkitchen", "euroc_mh05")


def main() -> None:
    """Run the demo places and write their summaries as one JSON file."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder of the real sequences; without it only the simulated room runs"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    places: dict[str, list[str]] = {"simulated_room": []}
    if arguments.data is not None:
        places |= {name: ["--data", str(arguments.data / name)] for name in REAL_PLACES}
    runs = {name: [run(name, options) for _ in range(arguments.runs)] for name, options in places.items()}
    write_json(arguments.output, {**provenance(), "runs": runs})
    for name, summaries in runs.items():
        print_row(name, summaries)


def run(name: str, options: list[str]) -> Figures:
    """One demo in a process of its own; gives its summary."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "visloc_ros.apps.cli", "demo", "--output", folder, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return read_json(Path(folder) / name / "report" / "summary.json")


def print_row(name: str, summaries: list[Figures]) -> None:
    """A line a run: what the README's table is made of."""
    for s in summaries:
        position, rotation = s["position_error_m"], s["rotation_error_deg"]
        print(
            f"{name}: localized {100 * s['localized_share_after_first_fix']:.1f} % "
            f"after {s['time_to_first_fix_s']:.1f} s, "
            f"position {100 * position['median']:.2f} / {100 * position['p95']:.2f} / {100 * position['max']:.2f} cm, "
            f"rotation {rotation['median']:.2f} / {rotation['p95']:.2f} / {rotation['max']:.2f} deg, "
            f"odometry p50 {s['odometry_latency_ms']['p50']:.1f} p95 {s['odometry_latency_ms']['p95']:.1f} ms, "
            f"pose age p95 {s['pose_age_ms']['p95']:.0f} ms, anchors p50 {s['anchor_latency_ms']['p50']:.0f} ms, "
            f"dropped {s['frames_dropped']}, memory {s['peak_rss_mb']:.0f} MB, "
            f"NEES {s['nees']['mean']:.1f}; {at_anchors(s['at_anchors'])}"
        )


def at_anchors(errors: Figures) -> str:
    """Medians of the fused poses and of the anchors, at the anchors' images."""
    fused, anchor = (
        f"{100 * errors[f'{kind}_position_error_m']['median']:.2f} cm "
        f"{errors[f'{kind}_rotation_error_deg']['median']:.2f} deg"
        for kind in ("fused", "anchor")
    )
    return f"at {errors['images']} anchors: fused {fused}, anchors {anchor}"


if __name__ == "__main__":
    main()

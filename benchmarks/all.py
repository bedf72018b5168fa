"""Runs all benchmarks in order, each in its own process; tables, figures and pictures go to ``results/``.

Run: python -m benchmarks.all --data ../shared/data
It takes hours, and other work on the machine falsifies its times. If a benchmark fails, the others still run; the end
lists the failed ones. Maps and features are kept in ``out/``.
"""

from benchmarks.suite import Benchmark, parse_arguments, run_suite

DATA = ("--data", "{data}")
ANCHOR, MAPS, ODOMETRY, ROBUSTNESS = (
    ("--markdown", f"{{results}}/{name}.md") for name in ("anchor", "map_size", "odometry", "robustness")
)
BENCHMARKS = (
    Benchmark("main_job", (*DATA, "--runs", "3", "--output", "{results}/main_job.json")),
    Benchmark("anchor.stages", (*DATA, *ANCHOR, "--hloc-json", "{results}/stock_hloc.json")),
    Benchmark("anchor.large_maps", (*DATA, *ANCHOR), threads=1),
    Benchmark("anchor.large_map_drive", (*DATA, *ANCHOR), threads=1),
    Benchmark("anchor.million_images", ANCHOR, threads=1),
    Benchmark("anchor.fewer_images", (*DATA, *ANCHOR), threads=1),
    Benchmark("anchor.acceptance", (*DATA, *ANCHOR), threads=1),
    Benchmark("anchor.other_places", (*DATA, *ANCHOR), threads=1),
    Benchmark("anchor.out_of_map", (*DATA, "--json", "out/out_of_map.json", *ANCHOR), threads=1),
    Benchmark("anchor.spoilt_images", (*DATA, *ANCHOR), threads=1),
    Benchmark("anchor.changing_cameras", (*DATA, *ANCHOR), threads=1),
    Benchmark("anchor.coverage", (*DATA, *ANCHOR), threads=1),
    Benchmark(
        "anchor.networks",
        (*DATA, "--rounds", "3", "--json", "{results}/networks.json", "--markdown", "{results}/networks.md"),
        threads=1,
    ),
    Benchmark("mapping.map_size", (*DATA, "--every", "4", *MAPS)),
    Benchmark("mapping.pairs", MAPS),
    Benchmark("mapping.mappers", (*DATA, *MAPS), threads=1),
    Benchmark("mapping.bent_maps", MAPS, threads=1),
    Benchmark("mapping.strips", MAPS, threads=1),
    Benchmark("mapping.weeks", ("--markdown", "{results}/map_updates.md"), threads=1),
    Benchmark("mapping.lights", (*DATA, "--markdown", "{results}/lights.md"), threads=1),
    Benchmark("mapping.update_crashes", ("--markdown", "{results}/map_changeover.md"), threads=1),
    Benchmark("mapping.changes_in_use", ("--markdown", "{results}/map_changeover.md"), threads=1),
    Benchmark("mapping.change_over", (*DATA, "--markdown", "{results}/map_changeover.md"), threads=1),
    Benchmark("mapping.kitchen_update", (*DATA, "--markdown", "{results}/map_updates.md"), threads=1),
    Benchmark("mapping.build_time", (*DATA, *MAPS)),
    Benchmark("mapping.covariance", MAPS, threads=1),
    Benchmark("mapping.estimated_poses", (*DATA, *MAPS), threads=1),
    Benchmark("odometry.sequences", (*DATA, "--stress", *ODOMETRY)),
    Benchmark(
        "odometry.perturbed",
        (*DATA, "--runs", "10", "--processes", "2", "--json", "{results}/odometry_perturbed.json", *ODOMETRY),
        threads=1,
    ),
    Benchmark("odometry.fast_turns", (*DATA, *ODOMETRY), threads=1),
    Benchmark("odometry.live_turns", (*DATA, *ODOMETRY), threads=1),
    Benchmark("odometry.uncertainty", (*DATA, *ODOMETRY), threads=1),
    Benchmark("rig", ("--markdown", "{results}/rigs.md"), threads=1),
    Benchmark("robustness.camera_faults", ("--markdown", "{results}/rigs.md"), threads=1),
    Benchmark("robustness.camera_faults", ("--busy", "2", "--markdown", "{results}/rigs.md"), threads=1),
    Benchmark("robustness.rig_schedules", ("--markdown", "{results}/rigs.md"), threads=1),
    Benchmark("consistency", (*DATA, "--markdown", "{results}/consistency.md"), threads=1),
    Benchmark("map_tracking", (*DATA, "--markdown", "{results}/map_tracking.md"), threads=1),
    Benchmark(
        "fusion.simulated_runs",
        ("--seeds", "500", "--json", "out/fusion.json", "--markdown", "{results}/fusion.md"),
        threads=1,
    ),
    Benchmark(
        "robustness.incidents",
        (*DATA, "--replay", "kitchen, no anchors", "--json", "out/robustness.json", *ROBUSTNESS),
        threads=1,
    ),
    Benchmark("robustness.kidnapped_live", (*DATA, *ROBUSTNESS), threads=1),
    Benchmark("robustness.driving", ROBUSTNESS, threads=1),
    Benchmark("robustness.sparse_frames", ROBUSTNESS, threads=1),
    Benchmark("layouts", (*DATA, "--runs", "3", "--json", "{results}/layouts.json")),
    Benchmark(
        "load_of_others",
        (
            *(*DATA, "--runs", "3", "--json", "{results}/load_of_others.json"),
            *("--markdown", "{results}/load_of_others.md", "--plot", "{results}/load_of_others.png"),
        ),
        threads=1,
    ),
    Benchmark("transforms", (*DATA, "--runs", "3", "--markdown", "{results}/ros.md")),
    Benchmark("searches", (*DATA, "--markdown", "{results}/ros.md")),
    Benchmark("tethered", ("--markdown", "{results}/ros.md")),
    Benchmark("soak", ("--markdown", "{results}/ros.md")),
    Benchmark("start", ("--runs", "5", "--json", "{results}/start.json")),
    Benchmark("reliability", (*DATA, "--markdown", "{results}/reliability.md")),
    Benchmark("killed_subscriber", ("--trials", "12")),
)
"""In the order in which they are run: what only needs a map that an earlier one has built comes after it."""


def main() -> None:
    """Run the chosen ones."""
    run_suite(BENCHMARKS, parse_arguments(__doc__, BENCHMARKS))


if __name__ == "__main__":
    main()

"""The fusion on hundreds of simulated runs, beside plain alignments: errors, divergence, consistency, jumps.

Run: python -m benchmarks.fusion.simulated_runs --seeds 500 --json out/fusion.json --markdown results/fusion.md
No images. Default options of the fusion. Runs are made by their seeds, so the figures are the same on every machine.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.fusion.scenarios import EXPERIMENTS
from benchmarks.fusion.scores import RunScore, score
from benchmarks.fusion.summary import ScenarioFigures, summarise_runs
from benchmarks.fusion.tables import acceptance_table, fusion_table
from benchmarks.program import new_parser
from benchmarks.results_file import Figures, write_json, write_section
from testing.fusion_scenario import FusionScenario
from visloc_ros.evaluation.machine import provenance

SEEDS_A_TASK = 4


def main() -> None:
    """Run every scenario with every seed, and write the results."""
    arguments = parse_arguments()
    processes, context = arguments.processes or os.cpu_count(), get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=use_one_thread) as pool:
        figures = run_experiments(arguments, pool)
    report(arguments, figures)


def run_experiments(arguments: argparse.Namespace, pool: ProcessPoolExecutor) -> dict[str, ScenarioFigures]:
    """All scenarios."""
    figures = {}
    for name in arguments.scenarios:
        figures[name] = summarise_runs(score_seeds(pool, EXPERIMENTS[name].scenario, arguments.seeds))
        print(f"{name}: {describe(figures[name])}", flush=True)
    return figures


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="runs of each scenario")
    parser.add_argument("--scenarios", nargs="+", default=list(EXPERIMENTS), choices=EXPERIMENTS, help="which ones")
    parser.add_argument("--processes", type=int, default=0, help="processes side by side; 0 takes one a core")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    return parser.parse_args()


def score_seeds(pool: ProcessPoolExecutor, scenario: FusionScenario, count: int) -> list[RunScore]:
    """Runs of one scenario with as many seeds."""
    return list(pool.map(score, repeat(scenario, count), range(count), chunksize=SEEDS_A_TASK))


def use_one_thread() -> None:
    """The matrices are small: more threads only spin."""
    threadpool_limits(1, "blas")


def describe(figures: ScenarioFigures) -> str:
    """One line while the others are still running."""
    fused, nees = figures.methods["fuser"], figures.nees
    return (
        f"{figures.runs} runs, median {100 * fused.median_m:.1f} cm, {100 * fused.diverged_share:.1f} % diverged, "
        f"NEES {nees.anees:.2f}, {100 * nees.runs_in_band_share:.0f} % of runs in the band"
    )


def report(arguments: argparse.Namespace, figures: dict[str, ScenarioFigures]) -> None:
    """Print the tables, and write them and the figures where files are named."""
    sections = {
        "What it must show": acceptance_table(figures),
        "The fusion": fusion_table(figures),
    }
    for title, body in sections.items():
        write_section(arguments.markdown, title, provenance(), body)
    if arguments.json:
        plain = {name: without_nan(asdict(scenario)) for name, scenario in figures.items()}
        write_json(arguments.json, {**provenance(), "seeds": arguments.seeds, "scenarios": plain})


def without_nan(values: Figures) -> Figures:
    """The same figures as JSON knows them: null where there is none."""
    return {
        key: without_nan(value) if isinstance(value, dict) else None if value != value else value
        for key, value in values.items()
    }


if __name__ == "__main__":
    main()

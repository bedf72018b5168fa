"""Several benchmarks in order, each in its own process with the command that it prints."""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.program import new_parser


@dataclass(frozen=True)
class Benchmark:
    """A program of this package by its name, with its options; ``{data}`` and ``{results}`` stand for folders.

    ``threads`` is what its libraries may use, where it runs several processes side by side or measures one thread.
    """

    name: str
    options: tuple[str, ...]
    threads: int | None = None

    def arguments(self, data: Path, results: Path) -> list[str]:
        """What follows ``python`` on the command line."""
        return ["-m", f"benchmarks.{self.name}", *(one.format(data=data, results=results) for one in self.options)]

    @property
    def environment(self) -> dict[str, str]:
        """Variables beside those of this process."""
        return {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}

    def command(self, data: Path, results: Path) -> str:
        """The command as it can be typed."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join([*variables, os.path.relpath(sys.executable), *self.arguments(data, results)])


def parse_arguments(description: str | None, benchmarks: Sequence[Benchmark]) -> argparse.Namespace:
    """Read the command line of a suite."""
    parser = new_parser(description)
    names = [one.name for one in benchmarks]
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real sequences")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for tables, figures and pictures")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="run these alone: names as listed")
    parser.add_argument("--list", action="store_true", help="show the commands, and run nothing")
    return parser.parse_args()


def run_suite(benchmarks: Sequence[Benchmark], arguments: argparse.Namespace) -> None:
    """Run or list the chosen benchmarks; ends the program with 1 if one has failed."""
    chosen = [one for one in benchmarks if not arguments.only or one.name in arguments.only]
    if arguments.list:
        for one in chosen:
            print(f"{one.name}: {one.command(arguments.data, arguments.results)}")
        return
    failed = [one.name for one in chosen if not run(one, arguments.data, arguments.results)]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} benchmarks done", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(benchmark: Benchmark, data: Path, results: Path) -> bool:
    """Run one benchmark; returns whether it succeeded."""
    print(f"$ {benchmark.command(data, results)}", flush=True)
    start = time.monotonic()
    finished = subprocess.run(
        [sys.executable, *benchmark.arguments(data, results)], env=os.environ | benchmark.environment, check=False
    )
    print(f"{benchmark.name}: status {finished.returncode} after {time.monotonic() - start:.0f} s", flush=True)
    return finished.returncode == 0

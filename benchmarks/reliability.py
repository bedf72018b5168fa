"""Writes that fail or are killed, and storms of messages and requests over DDS.

The long form of what ``test/hostile`` tries in every test run; ``make fuzz`` goes on with its searches over maps, files
and command lines.

Run: python -m benchmarks.reliability --data ../shared/data --markdown results/reliability.md
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.places import DEMO_MAP
from benchmarks.program import new_parser
from benchmarks.results_file import table, write_section
from visloc_ros.apps.replay import LOOPBACK_ONLY, free_domain_id
from visloc_ros.evaluation.machine import provenance

HOSTILE = Path("test/hostile").resolve()


FAILURES = "Failures at each call that writes: disk full, input/output error, killed."


def main() -> None:
    """Try everything, and write a table of each part."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--trials", type=int, default=0, help="failures of each kind for each way of writing; 0: all")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--parts", nargs="+", choices=("writes", "storm"), default=("writes", "storm"))
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    arguments = parser.parse_args()
    if "writes" in arguments.parts:
        tables = writes_table(arguments.data.resolve(), arguments.trials)
        write_section(arguments.markdown, "Writes that fail", provenance(), tables)
    if "storm" in arguments.parts:
        tables = storm_table(arguments.messages, arguments.calls)
        write_section(arguments.markdown, "Messages and requests", provenance(), tables)


def writes_table(data: Path, trials: int) -> str:
    """The outcome of each way of writing something."""
    rows: list[Sequence[str]] = []
    with TemporaryDirectory() as folder:
        library = Path(folder) / "faulty_disk.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HOSTILE / "faulty_disk.c"), "-ldl"]
        subprocess.run(command, check=True)
        (ways,) = run_writes(library)
        for number, (name, is_long) in enumerate(ways.items()):
            more = [str(data)] if is_long else []
            good, *failed = run_writes(library, name, str(Path(folder) / str(number)), str(trials), *more)
            rows.append(writes_row(name, good, failed))
            print(rows[-1], flush=True)
    header = ("what is written", "calls that write", "failures tried", "old one whole", "new one whole")
    body = table([*header, "none yet, and none after", "broken", "litter after the next write"], rows)
    return f"{FAILURES}\n\n{body}"


def run_writes(library: Path, *arguments: str) -> Sequence[Mapping[str, Any]]:
    """The lines of ``interrupted_writes.py``."""
    command = [sys.executable, str(HOSTILE / "interrupted_writes.py"), *arguments]
    imported = os.pathsep.join(map(str, (Path.cwd(), HOSTILE.parent / "core")))
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": imported, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def writes_row(name: str, good: Mapping[str, Any], failed: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """A row of all failures."""
    states = Counter(trial["state"] for trial in failed)
    broken = len(failed) - sum(states[state] for state in ("old", "new", "none"))
    crashed = sum(trial["code"] not in (0, 1, -9) for trial in failed)
    litter = sum(trial["second"][2:] != ["new", good["left"]] for trial in failed)
    found = (len(failed), states["old"], states["new"], states["none"], broken + crashed, litter)
    return [name, str(good["calls"]), *map(str, found)]


def storm_table(messages: int, calls: int) -> str:
    """The nodes' reaction to a storm."""
    environment = os.environ | LOOPBACK_ONLY | {"ROS_DOMAIN_ID": str(free_domain_id()), "PYTHONPATH": str(Path.cwd())}
    with TemporaryDirectory() as folder:
        command = [sys.executable, str(HOSTILE / "storm.py"), str(DEMO_MAP), folder, str(messages), str(calls), "1"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    recoveries = sorted(figures["recoveries_s"])
    found = {
        "messages sent": f"{figures['messages']} on {figures['topics']} topics",
        "requests sent": f"{figures['calls']} to {figures['services']} services",
        "deaths": figures["deaths"],
        "requests without an answer": f"{figures['unanswered']}; the slowest took {figures['slowest_answer_s']:.1f} s",
        "outputs not finite, or beyond all bounds": f"{figures['absurd_outputs']} of {figures['outputs']}",
        "localized again after good images came": f"after {recoveries[len(recoveries) // 2]:.1f} s in the median, "
        f"{recoveries[-1]:.1f} s at most, of {len(recoveries)} rounds",
        **{
            f"memory of {name}, after a tenth of the messages and in the end": f"{used[0]:.0f}, {used[-1]:.0f} MB "
            f"({used[-1] / used[0] - 1:+.1%})"
            for name, used in figures["memory_mb"].items()
        },
    }
    return table(("what", "figure"), [(what, str(figure)) for what, figure in found.items()])


if __name__ == "__main__":
    main()

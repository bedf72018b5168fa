"""The programs that run all benchmarks, and those for a GPU."""

import argparse
from pathlib import Path

import pytest

from benchmarks import all as everything
from benchmarks import gpu
from benchmarks.suite import Benchmark, run_suite

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = {
    "all",
    "gpu",
    "listener",
    "anchor.one_map",
    "anchor.stock_hloc",
    "mapping.preparing",
    "odometry.plain_klt",
}
"""Programs that other programs run."""
LISTED = Benchmark("all", ("--list", "--data", "{data}", "--results", "{results}"), threads=1)
REFUSED = Benchmark("gpu", ("--only", "absent"))


def programs():
    folder = REPOSITORY / "benchmarks"
    with_main = [path for path in folder.rglob("*.py") if 'if __name__ == "__main__":' in path.read_text("utf-8")]
    return {".".join(path.relative_to(folder).with_suffix("").parts) for path in with_main}


def asked(**options):
    return argparse.Namespace(**{"data": Path("d"), "results": Path("r"), "only": None, "list": False} | options)


def test_every_program_is_run_by_another_or_by_the_suite():
    assert {one.name for one in everything.BENCHMARKS} == programs() - PARTS
    assert {one.name for one in gpu.BENCHMARKS} <= programs()


@pytest.mark.parametrize("benchmarks", [everything.BENCHMARKS, gpu.BENCHMARKS])
def test_all_that_is_written_goes_to_the_named_folders(benchmarks):
    for one in benchmarks:
        command = one.command(Path("d"), Path("r"))
        assert "../shared" not in command
        assert "results/" not in command


def test_a_list_shows_the_commands_and_runs_nothing(capsys):
    run_suite([LISTED, REFUSED], asked(list=True, only=["all"]))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("all: OMP_NUM_THREADS=1 ")
    assert line.endswith("-m benchmarks.all --list --data d --results r")


def test_one_that_fails_is_reported_at_the_end_and_the_others_still_run(capfd, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(SystemExit, match="failed: gpu"):
        run_suite([REFUSED, LISTED], asked())
    shown = capfd.readouterr().out
    assert "gpu: status 2" in shown
    assert "main_job: " in shown  # what the other one printed
    assert "all: status 0" in shown
    assert "1 of 2 benchmarks done" in shown


def test_without_cuda_nothing_is_run_and_it_is_said(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit, match="no CUDA GPU"):
        gpu.main()

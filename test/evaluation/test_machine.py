import re
import sys
from importlib.machinery import ModuleSpec

import pytest

from visloc_ros.evaluation.machine import command_line, describe_machine, peak_rss_mb, today


def test_the_machine_is_reported_with_its_processors_and_python():
    assert re.match(rf"\d+ x .+, .+, Python {sys.version_info.major}\.{sys.version_info.minor}", describe_machine())


@pytest.mark.parametrize(
    ("module", "arguments", "expected"),
    [
        (None, ["/opt/place/bin/visloc", "track"], "visloc track"),
        (None, ["tools/figures.py", "--data", "a b"], "python tools/figures.py --data 'a b'"),
        (
            "benchmarks.main_job",
            ["/src/benchmarks/main_job.py", "--runs", "1"],
            "python -m benchmarks.main_job --runs 1",
        ),
    ],
)
def test_the_command_can_be_typed_again(monkeypatch, module, arguments, expected):
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", module and ModuleSpec(module, None))
    assert command_line() == expected


def test_peak_memory_is_that_of_a_python_process_with_numpy():
    assert 20.0 < peak_rss_mb() < 100_000.0


def test_the_date_is_a_date():
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", today())

"""PRAM's programs by their names: what they do here, and what is refused with the command that does it."""

import pytest
from typer.testing import CliRunner

from visloc_ros.apps import command_benchmark
from visloc_ros.apps.cli import HIDDEN, app


def visloc(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def asked(monkeypatch):
    """What the benchmark was asked for."""
    calls = []
    monkeypatch.setattr(command_benchmark, "benchmark", lambda *words, **options: calls.append((*words, options)))
    return calls


@pytest.fixture
def config(tmp_path):
    (tmp_path / "data" / "7Scenes").mkdir(parents=True)

    def write(**keys):
        keys = {"dataset": "[S]", "dataset_path": tmp_path / "data", "landmark_path": "of_file"} | keys
        (tmp_path / "pram.yaml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
        return tmp_path / "pram.yaml"

    return write


def test_a_data_set_is_searched_by_landmarks(tmp_path, asked, config):
    told = visloc("inference", "--config", config(online="true"), "--no-online", "--landmark_path", tmp_path / "given")
    assert told.exit_code == 0, told.output
    folder = tmp_path / "data" / "7Scenes"
    assert asked == [("7scenes", folder, {"output": tmp_path / "given", "search": "landmarks"})]
    assert visloc("main", "--config", config(loc="true", dataset="Aachen")).exit_code == 0
    assert asked[1][:2] == ("aachen", tmp_path / "data")
    assert str(asked[1][2]["output"]) == "of_file"


@pytest.mark.parametrize(
    ("words", "keys", "complaint"),
    [
        (("inference", "--rec_weight_path", "w.pth"), {}, "visloc prepare MAP --for landmarks"),
        (("inference",), {"weight_path": "w.pth"}, "visloc prepare MAP --for landmarks"),
        (("inference", "--online"), {}, "visloc view MAP --live SOURCE"),
        (("inference",), {"online": "true"}, "visloc view MAP --live SOURCE"),
        (("inference",), {"landmark_path": "''"}, "name the folder"),
        (("inference",), {"dataset": "[S, T]"}, "must name one of 7Scenes"),
        (("main",), {}, "visloc prepare MAP --for landmarks"),
        (("recmap",), {}, "visloc prepare MAP --for landmarks"),
    ],
)
def test_what_has_no_meaning_here_is_refused(asked, config, words, keys, complaint):
    refused = visloc(*words, "--config", config(**keys))
    assert complaint in str(refused.exception)
    assert asked == []


def test_the_help_does_not_list_them():
    shown = visloc("--help").stdout
    assert not any(f" {name} " in shown for name in HIDDEN)

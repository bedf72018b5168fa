"""The programs of PRAM and FUSELOC: their names, options and files, and what of these has no meaning here."""

import logging
import math

import pytest
from visloc_command import succeed, visloc

from visloc_field import command_fuseloc, command_pram
from visloc_field.command_fuseloc import ratio_of


@pytest.fixture
def asked(monkeypatch):
    """Name, folder of data, folder of results, searches, options and scenes of each benchmark asked for."""
    calls = []
    for module in (command_pram, command_fuseloc):
        monkeypatch.setattr(module, "run_benchmark", lambda *words: calls.append(words))
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
    succeed("inference", "--config", config(online="true"), "--no-online", "--landmark_path", tmp_path / "given")
    assert asked[0][:4] == ("7scenes", tmp_path / "data" / "7Scenes", tmp_path / "given", ["landmarks"])
    succeed("main", "--config", config(loc="true", dataset="Aachen"))
    assert asked[1][:2] == ("aachen", tmp_path / "data")
    assert str(asked[1][2]) == "of_file"


@pytest.mark.parametrize(
    ("words", "keys", "said"),
    [
        (("--rec_weight_path", "w.pth"), {}, "PRAM's weights are not read"),
        ((), {"weight_path": "w.pth"}, "PRAM's weights are not read"),
        ((), {"online": "true"}, "visloc view MAP --live SOURCE"),
        ((), {"dataset": "[S, Aria]"}, "no protocol for Aria"),
    ],
)
def test_what_of_a_file_has_no_meaning_here_is_named_and_the_rest_is_run(asked, config, caplog, words, keys, said):
    with caplog.at_level(logging.WARNING):
        succeed("inference", *words, "--config", config(**keys))
    assert said in caplog.text
    assert [call[0] for call in asked] == ["7scenes"]


def test_folders_of_a_file_may_be_in_the_home_folder(tmp_path, asked, config, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    succeed("inference", "--config", config(dataset_path="~/data", landmark_path="~/out"))
    assert asked[0][1:3] == (tmp_path / "data" / "7Scenes", tmp_path / "out")


@pytest.mark.parametrize("below", ["", "7Scenes/"])
def test_landmarks_of_pram_are_taken_where_they_are(tmp_path, asked, config, below):
    succeed("inference", "--config", config(landmark_path=tmp_path / "landmarks"))
    assert asked.pop()[4].preparations == {}
    scene = tmp_path / "landmarks" / below / "chess"
    scene.mkdir(parents=True)
    (scene / "point3D_cluster_n16_xz_birch.npy").touch()
    succeed("inference", "--config", config(landmark_path=tmp_path / "landmarks"))
    assert asked.pop()[4].preparations["landmarks"].landmarks.clusters == str(scene.parent)


def test_the_scenes_of_a_file_and_several_data_sets(tmp_path, asked, config):
    succeed("inference", "--config", config(localization="{loc_scene_name: [chess, heads]}", weight_path="null"))
    assert asked.pop()[5] == ["chess", "heads"]
    succeed("inference", "--config", config(dataset="[S, Aachen]"), "--landmark_path", tmp_path)
    assert [(call[0], call[2]) for call in asked] == [(name, tmp_path / name) for name in ("7scenes", "aachen")]


@pytest.mark.parametrize(
    ("words", "keys", "complaint"),
    [
        (("inference", "--online"), {}, "visloc view MAP --live SOURCE"),
        (("inference",), {"landmark_path": "''"}, "name the folder"),
        (("inference",), {"dataset": "[Aria]"}, "must name some of 7Scenes"),
        (("main",), {}, "visloc prepare MAP --for landmarks"),
        (("recmap",), {}, "visloc prepare MAP --for landmarks"),
    ],
)
def test_what_cannot_be_run_is_refused(asked, config, words, keys, complaint):
    refused = visloc(*words, "--config", config(**keys))
    assert complaint in str(refused.exception)
    assert asked == []


def test_fuselocs_options_are_those_of_the_search_by_fused_descriptors(tmp_path, asked):
    succeed("main_aachen", "--dataset", tmp_path)
    name, data, output, searches, options, *_ = asked.pop()
    assert (name, data, str(output), searches) == ("aachen", tmp_path, "out/fuseloc_aachen", ["fused"])
    assert (options.preparations, options.mapping.features.name) == ({}, "aliked-n16")
    words = ("--local_desc", "sift", "--local_desc_dim", 128, "--global_desc", "salad", "--global_desc_dim", 8448)
    succeed("main_cambridge", "--dataset", tmp_path, *words, "--lambda_val", 0.4, "--convert", 0, "-o", tmp_path)
    options = asked.pop()[4]
    fused = options.preparations["fused"]
    assert {options.mapping.features.name, options.anchor.features.name, fused.features.name} == {"sift"}
    assert options.mapping.global_descriptor.name == "salad"
    assert (fused.convert, fused.rho) == (False, pytest.approx(1.5 * math.sqrt(128 / 8448)))
    succeed("main_cmu", "--dataset", tmp_path, "--use_global", 0, "--local_desc", "sift", "--lambda_val", 0.3)
    assert asked.pop()[4].preparations["fused"].rho == 0.0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--local_desc", "dedode"), "unknown extractor 'dedode'"),
        (("--local_desc", "sift", "--local_desc_dim", 512), "have the length 128"),
        (("--local_desc", "sift", "--global_desc", "salad", "--global_desc_dim", 512), "have the length 8448"),
        (("--local_desc", "sift", "--lambda_val", 0.01), "the search collapses"),
    ],
)
def test_models_and_lengths_that_do_not_fit_are_refused(tmp_path, asked, words, complaint):
    refused = visloc("main_robotcar", "--dataset", tmp_path, *words)
    assert complaint in str(refused.exception)
    assert asked == []


def test_fuselocs_best_weights_are_about_ours():
    """Its tables: 0.3 with 512 of 8448 numbers, 0.4 with 512 of 4096."""
    assert ratio_of(0.3, 512, 8448) == pytest.approx(0.57, abs=0.01)
    assert ratio_of(0.4, 512, 4096) == pytest.approx(0.53, abs=0.01)

"""What commands say before they replace earlier results."""

import logging

import pytest

from visloc_ros.apps.outputs import check_outputs


def test_earlier_results_are_named_before_they_are_replaced(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        check_outputs(tmp_path / "poses.tum", folder=tmp_path)
        check_outputs(folder=tmp_path / "new")
    assert caplog.text == ""
    (tmp_path / "poses.tum").write_text("")
    with caplog.at_level(logging.WARNING):
        check_outputs(tmp_path / "poses.tum", folder=tmp_path)
    assert f"replacing the existing {tmp_path / 'poses.tum'}\n" in caplog.text
    assert "results of an earlier run, such as poses.tum" in caplog.text


@pytest.mark.parametrize("name", ["notes.txt", "office"])
def test_what_is_no_result_is_not_named(tmp_path, caplog, name):
    (tmp_path / name).mkdir()
    with caplog.at_level(logging.WARNING):
        check_outputs(folder=tmp_path)
    assert caplog.text == ""

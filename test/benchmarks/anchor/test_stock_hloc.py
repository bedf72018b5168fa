"""The comparison with stock hloc where it is not installed."""

import importlib.util
import sys

import pytest

from benchmarks.anchor import stock_hloc


@pytest.mark.skipif(importlib.util.find_spec("hloc") is not None, reason="stock hloc is installed")
def test_the_comparison_says_how_to_install_stock_hloc(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stock_hloc", "--map", str(tmp_path), "--source", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"no module named hloc.*git clone.*pip install"):
        stock_hloc.main()

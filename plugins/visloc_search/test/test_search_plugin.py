"""The plug-in as a whole: what its import costs."""

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "visloc_search"
WITH_TORCH = {"backends", "learning"}


def test_only_the_backends_and_learning_import_torch():
    parts = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py")]
    modules = [".".join(one).removesuffix(".__init__") for one in parts if not WITH_TORCH & set(one)]
    script = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(modules) > 40
    assert done.stdout.split() == ["False"]

"""What a process sets for itself: freed memory stays with it."""

import subprocess
import sys

import pytest

FREE_AND_TAKE_AGAIN = """
import resource
from visloc_ros.core.own_process import keep_freed_memory
{prepare}
for _ in range(3):
    page = b"x" * (48 << 20)
    del page
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    page = b"x" * (48 << 20)
    del page
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(prepare):
    """Page faults of a process that takes and frees 48 MB five times, after it has done so before."""
    code = FREE_AND_TAKE_AGAIN.format(prepare=prepare)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has this option")
def test_freed_memory_is_taken_again_without_asking_the_kernel():
    asked_before = page_faults("")
    assert asked_before > 100
    assert page_faults("keep_freed_memory()") < asked_before / 10


KEEP_LOADED = """
import gc, weakref
from visloc_ros.core.own_process import keep_loaded_objects

class Loaded:
    def __init__(self):
        self.itself = self

map_ = Loaded()
keep_loaded_objects()
kept, gone = gc.get_freeze_count(), weakref.ref(map_)
del map_
gc.collect()
print(kept > 1000, gone() is not None)
keep_loaded_objects()
print(gone() is None)
"""


def test_loaded_objects_are_left_out_of_collections_until_the_next_are_loaded():
    found = subprocess.run([sys.executable, "-c", KEEP_LOADED], capture_output=True, check=True, text=True).stdout
    assert found.split() == ["True", "True", "True"]

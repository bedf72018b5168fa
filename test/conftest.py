"""What all tests share: where each runs, the place of the real data, a ROS domain, and one thread per library."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Set before numpy, OpenCV or torch are imported: tests start processes of their own, which share the processors.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(variable, "1")
# A shell lets what it runs in the background ignore Ctrl-C, and so would the programs that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

LARGEST_DOMAIN = 101  # above it, the ports of DDS reach into those that Linux gives out by itself
DDS_FIRST_PORT, DDS_PORTS_PER_DOMAIN, DDS_UNICAST_OFFSET = 7400, 250, 10


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those of a file, or of a named group, follow each other on one worker.

    What takes long begins first, so that no worker is left over with it at the end.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real image sequences; tests that need them skip where it is absent."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VISLOC_SHARED_DATA", beside_checkout))
    if not folder.is_dir():
        pytest.skip(f"the real image sequences are not at {folder}; VISLOC_SHARED_DATA can name their folder")
    return folder


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain that nobody else on this machine uses, in the environment of the test and its processes."""
    with reserved_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        monkeypatch.delenv("ROS_STATIC_PEERS", raising=False)
        monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
        yield domain
        # Nodes are reference cycles: only now does their participant leave, with its threads and its ports. Left to
        # chance, it leaves in the middle of a later test, where Fast DDS may wait for itself for ever.
        gc.collect()


@contextmanager
def reserved_domain() -> Iterator[int]:
    """Hold the first domain, from the top, that neither another test run nor a running node has taken."""
    for domain in range(LARGEST_DOMAIN, 0, -1):
        path = Path(tempfile.gettempdir(), f"visloc-test-domain-{os.getuid()}-{domain}.lock")
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not has_participant(domain):
                yield domain
                return
    pytest.fail("no free ROS domain: end the nodes that are left over from other runs")


def has_participant(domain: int) -> bool:
    """Tell whether the port of a domain's first participant is in use."""
    port = DDS_FIRST_PORT + DDS_PORTS_PER_DOMAIN * domain + DDS_UNICAST_OFFSET
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False

"""What all tests share: the place of the real data, a ROS domain of one's own, and one thread per library."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Set before numpy, OpenCV or torch are imported: tests start processes of their own, which share the processors.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

LARGEST_DOMAIN = 101  # above it, the ports of DDS reach into those that Linux gives out by itself
DDS_FIRST_PORT, DDS_PORTS_PER_DOMAIN, DDS_UNICAST_OFFSET = 7400, 250, 10


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

"""What all tests share: where each runs, the place of the real data, a ROS domain, and one thread per library."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# Set before numpy, OpenCV or torch are imported: tests start processes of their own, which share the processors.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(variable, "1")
# Messages check what their fields are set to, as in Humble, also in the processes that tests start.
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
# A shell lets what it runs in the background ignore Ctrl-C, and so would the programs that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

DEMO_MAP = Path(__file__).resolve().parent / "maps" / "demo_room.tar.gz"
LARGEST_DOMAIN = 101  # above it, the ports of DDS reach into those that Linux gives out by itself
DDS_FIRST_PORT, DDS_PORTS_PER_DOMAIN, DDS_UNICAST_OFFSET = 7400, 250, 10
DDS_PORTS_PER_PARTICIPANT = 2
MOST_PARTICIPANTS = 20  # that a process or a robot may have left over
NODES_GONE_S = 20.0
CHROMIUM = (  # draws without a graphics card, and asks nobody but the test's server
    "--headless=new --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --window-size=800,600 "
    "--disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic"
)
HAS_FAILED = pytest.StashKey[bool]()


# Where tests run side by side, the files of a row follow each other on one worker, and those of the first rows begin
# before all others, so that no worker is left over with them at the end.
TOGETHER = (
    # Nodes at the speed of a camera: they would wait for each other's processors.
    ("apps/test_long_commands.py", "nodes/test_replay_end_to_end.py", "apps/test_examples.py"),
    ("apps/test_main_job.py",),
    ("test_repository/test_lint.py",),
    ("test_repository/test_plugin_folders.py",),
    ("mapping/test_builder.py", "mapping/test_extension.py"),  # one map
    # One load of the packaged original.
    ("features/test_aliked_lightglue.py", "features/test_disk.py", "features/test_lightglue_families.py"),
    # One look at what the nodes offer.
    ("nodes/test_interface.py", "nodes/test_security_policy.py", "nodes/test_viewer_layouts.py"),
)

ROW_OF_FILE = {f"test/{file}": row for row, files in enumerate(TOGETHER) for file in files}


class ByFileAndRow(LoadFileScheduling):
    """The tests of a file, or of the files of a row, are one worker's."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return f"row {ROW_OF_FILE[file]}" if file in ROW_OF_FILE else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFileAndRow | None:
    """Choose the scheduler for ``--dist loadfile``."""
    return ByFileAndRow(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_configure() -> None:
    """Refuse rows that name a file which is gone."""
    missing = [file for files in TOGETHER for file in files if not (Path(__file__).parent / "test" / file).exists()]
    if missing:
        raise pytest.UsageError(f"conftest.py:TOGETHER names {', '.join(missing)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of the rows first."""
    items.sort(key=lambda item: ROW_OF_FILE.get(item.nodeid.partition("::")[0], len(TOGETHER)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage only afterwards, and in what tests make: what is imported and collected stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def open_browser() -> Iterator[Callable[..., Any]]:
    """Start Chromium without a window, with further arguments; driven by Selenium, as long as the test runs."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if (program := shutil.which("chromedriver")) is None:
        pytest.skip("browser tests need Debian's chromium and chromium-driver")
    drivers = []

    def start(*arguments: str) -> Any:
        options = webdriver.ChromeOptions()
        for argument in (*CHROMIUM.split(), *arguments):
            options.add_argument(argument)
        drivers.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(program)))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.quit()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real image sequences; tests that need them skip where it is absent."""
    beside_checkout = Path(__file__).resolve().parents[1] / "shared" / "data"
    folder = Path(os.environ.get("VISLOC_SHARED_DATA", beside_checkout))
    if not folder.is_dir():
        pytest.skip(f"the real image sequences are not at {folder}; VISLOC_SHARED_DATA can name their folder")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A copy of the file or folder of a name, which the first worker that asks for it makes while others wait."""
    of_worker = tmp_path_factory.getbasetemp()
    shared = (of_worker.parent if "PYTEST_XDIST_WORKER" in os.environ else of_worker) / "made_once"
    shared.mkdir(exist_ok=True)

    def get(name: str, make: Callable[[Path], object]) -> Path:
        own, made = tmp_path_factory.mktemp("copy") / name, shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                make(own)
                own.rename(made)  # whole at once: whoever makes it may be stopped
        return Path(shutil.copytree(made, own) if made.is_dir() else shutil.copy(made, own))

    return get


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk through the simulated room."""
    from mapped_room import SIMULATION

    from visloc_ros.simulation import simulate, write_folder

    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(simulate(SIMULATION, "map"), folder)
    return folder


@pytest.fixture(scope="session")
def room_map(recording: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The map of that walk at its exact poses."""
    from visloc_ros.mapping import MappingConfig, build_map
    from visloc_ros.sources import open_source

    source = open_source(recording)
    return made_once("room", lambda path: build_map(source, path, MappingConfig(), reference_poses=source.ground_truth))


@pytest.fixture(scope="session")
def prepared_room(made_once: Callable[[str, Callable[[Path], object]], Path]) -> tuple[Path, str]:
    """The demo's map, prepared for an installed search that labels its points and needs nothing else; its name."""
    from visloc_ros.core.progress import SilentProgress
    from visloc_ros.localization.searchable_map import find_strategy, preparation_types
    from visloc_ros.localization.strategy import SearchStrategy

    def labels_points(search: SearchStrategy) -> bool:
        return search.can_reduce and type(search).labelled_map is not SearchStrategy.labelled_map

    searches = [one for one in map(find_strategy, preparation_types()) if labels_points(one)]
    if not searches:
        pytest.skip("no installed search labels the points of a map")
    search = searches[0]
    assert search.preparation is not None

    def prepare(path: Path) -> None:
        shutil.copy(DEMO_MAP, path)
        search.prepare([path], search.preparation(), SilentProgress())

    return made_once("prepared_room.tar.gz", prepare), search.name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember for fixtures that a test has failed."""
    report = yield
    item.stash[HAS_FAILED] = item.stash.get(HAS_FAILED, False) or report.failed
    return report


@pytest.fixture
def ros_domain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain that nobody else on this machine uses, in the environment of the test and its processes."""
    with reserved_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        monkeypatch.delenv("ROS_STATIC_PEERS", raising=False)
        monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
        gc.freeze()  # so that only what the test has made is looked through
        try:
            yield domain
            # Both may hold nodes: other fixtures, which are torn down by now, and what is put back after this one.
            request.node.funcargs.clear()
            monkeypatch.undo()
            if not request.node.stash.get(HAS_FAILED, False):  # a failure holds them, too
                wait_until_nodes_are_gone()
        finally:
            gc.unfreeze()


def wait_until_nodes_are_gone() -> None:
    """Nodes are reference cycles, and a thread may still hold one: only now does their participant leave.

    Left to chance, it would leave in the middle of a later test, where Fast DDS may wait for itself for ever, or be
    found there under its name.
    """
    deadline = time.monotonic() + NODES_GONE_S
    gc.collect()
    while alive := nodes_of_this_test():
        if time.monotonic() > deadline:
            pytest.fail(f"{', '.join(alive)} outlived the test")
        time.sleep(0.05)
        gc.collect()


def nodes_of_this_test() -> list[str]:
    if "rclpy.node" not in sys.modules:
        return []
    node_type = sys.modules["rclpy.node"].Node
    return [type(one).__name__ for one in gc.get_objects() if node_type in type(one).__mro__]  # none that are frozen


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
    """Tell whether the port of one of a domain's first participants is in use."""
    first = DDS_FIRST_PORT + DDS_PORTS_PER_DOMAIN * domain + DDS_UNICAST_OFFSET
    return any(is_taken(first + DDS_PORTS_PER_PARTICIPANT * index) for index in range(MOST_PARTICIPANTS))


def is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False

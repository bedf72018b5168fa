"""Items on a Ray cluster, which reports its use to nobody."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import platform
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import visloc_ros
from visloc_ros.core.child_process import LogSender, log_again
from visloc_ros.core.errors import SetupError
from visloc_ros.core.plugins import plugin_packages
from visloc_ros.execution.engine import MOST_RETRIES, Item, LostItemError, Resources, Result
from visloc_ros.execution.this_computer import num_processors
from visloc_ros.execution.worker import Outcome, outcome_of

log = logging.getLogger(__name__)

_WAITING_PER_PROCESSOR = 2  # items handed to Ray: enough that none waits for this program, and that a cluster grows
_FEWEST_WAITING = 8
_WAIT_S = 1.0
_ENDING_S = 5.0
_CONNECTING_S = 10.0
_STORE_BYTES = 256 << 20  # of Ray's own store of objects: results are small, artifacts go to files
_OWN_CLUSTER = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}


class RayEngine:
    """Workers of a Ray cluster, ``workers`` at most; without an address, of one that starts on this computer.

    Ray that runs in this process already is used as it is. Raises SetupError where Ray or the cluster is missing.
    """

    def __init__(self, address: str = "", workers: int = 0) -> None:
        self._ray = _import_ray()
        self._most = workers
        self._is_own = not self._ray.is_initialized()
        if self._is_own:
            self._connect(address)
        self._call = self._ray.remote(_call)

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], needs: Resources
    ) -> Iterator[tuple[int, Result]]:
        """As ``Engine.run``; raises SetupError where machines have other versions of this package."""
        self._note_what_fits_nowhere(needs)
        call, shared = self._call.options(**_options(needs)), self._ray.put(function)
        waiting, running = deque(range(len(items))), dict[Any, int]()
        try:
            while waiting or running:
                while waiting and len(running) < self._at_once(needs):
                    row = waiting.popleft()
                    running[call.remote(own_version(), shared, items[row], needs.processors)] = row
                done, _ = self._ray.wait(list(running), num_returns=1, timeout=_WAIT_S)
                for reference in done:
                    row = running.pop(reference)
                    outcome = self._outcome(reference, row, items[row])
                    if isinstance(outcome, Exception):
                        raise outcome
                    yield row, outcome[0]
        finally:
            self._cancel(list(running))

    def close(self) -> None:
        """Leave the cluster; the one that was started here ends."""
        if self._is_own:
            self._ray.shutdown()

    def _connect(self, address: str) -> None:
        local = {"num_cpus": self._most or num_processors(), "_system_config": {"task_oom_retries": MOST_RETRIES}}
        _check_reachable(address)
        options = {"address": address} if address else {"address": "local", **local, **_OWN_CLUSTER}
        try:
            self._ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises plain ones, too, as when a busy computer starts it too slowly
            where, cure = address or "this computer", "'ray start --head' starts one"
            token = "set RAY_AUTH_MODE=token where it asks for a token"
            raise SetupError(f"cannot use the Ray cluster at {where}: {error}; {cure}; {token}") from error

    def _at_once(self, needs: Resources) -> int:
        if self._most:
            return self._most
        processors = self._ray.cluster_resources().get("CPU", 0.0)
        return max(_FEWEST_WAITING, int(_WAITING_PER_PROCESSOR * processors / max(needs.processors, 0.1)))

    def _outcome(self, reference: Any, row: int, item: Any) -> Outcome:
        """What came of an item; what its worker logged is logged here. Raises SetupError, LostItemError."""
        errors = self._ray.exceptions
        deaths = (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError, errors.ObjectLostError)
        try:
            outcome, records = self._ray.get(reference)
        except deaths as error:
            raise LostItemError.of(row, item, _first_line(error)) from error
        except errors.RayTaskError as error:
            cure = f"install visloc_ros {own_version()} on all machines"
            raise SetupError(f"a worker cannot take {item}: {error.cause or error}; {cure}") from error
        except errors.RayError as error:
            raise SetupError(f"Ray cannot do {item}: {_first_line(error)}") from error
        for record in records:
            log_again(*record)
        return outcome  # type: ignore[no-any-return]

    def _cancel(self, references: list[Any]) -> None:
        """End the work under way, by killing its workers."""
        if not references or not self._ray.is_initialized():
            return
        for reference in references:
            self._ray.cancel(reference, force=True)
        self._ray.wait(references, num_returns=len(references), timeout=_ENDING_S)

    def _note_what_fits_nowhere(self, needs: Resources) -> None:
        wanted = {"CPU": needs.processors, "memory": needs.memory_bytes, "GPU": needs.gpus}
        machines = [machine["Resources"] for machine in self._ray.nodes() if machine["Alive"]]
        if not any(all(has.get(name, 0.0) >= value for name, value in wanted.items()) for has in machines):
            log.warning("no machine of the cluster has %s now: the work waits until one joins", needs)


def _check_reachable(address: str) -> None:
    """Raise SetupError where nothing listens at HOST:PORT or ray://HOST:PORT; Ray itself takes minutes to notice."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _CONNECTING_S).close()
    except (OSError, OverflowError) as error:
        raise SetupError(
            f"cannot use the Ray cluster at {address}: {error}; 'ray start --head' starts one, and prints its address"
        ) from error


def own_version() -> str:
    """The version of visloc_ros, with a digest of its code and its plug-ins': results depend on all of it."""
    return f"{visloc_ros.__version__} ({_code_digest()[:8]})"


@cache
def _code_digest() -> str:
    digest = hashlib.sha256()
    for name in ("visloc_ros", *plugin_packages()):
        spec = find_spec(name)
        for folder in sorted((spec and spec.submodule_search_locations) or ()):
            for path in sorted(Path(folder).rglob("*.py")):
                place = f"{name}/{path.relative_to(folder).as_posix()}"
                digest.update(place.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _call(
    version: str, function: Callable[[Any], Any], item: Any, processors: float
) -> tuple[Outcome, list[tuple[Any, ...]]]:
    """Do an item in a worker of Ray; gives what came of it, and what was logged."""
    if version != own_version():
        mine = f"{platform.node()} has visloc_ros {own_version()}, the machine that has begun the work {version}"
        return SetupError(f"{mine}: install the same on all machines"), []
    records: list[tuple[Any, ...]] = []
    sender, logger = LogSender(records.append), logging.getLogger("visloc_ros")
    logger.addHandler(sender)
    try:
        return outcome_of(function, item, processors), records
    finally:
        logger.removeHandler(sender)


def _options(needs: Resources) -> dict[str, Any]:
    """As Ray has them: more than one processor or GPU are whole numbers. A GPU's worker stays, with its models."""
    counts = {"num_cpus": needs.processors, "num_gpus": needs.gpus}
    whole = {name: math.ceil(count) if count > 1 else count for name, count in counts.items()}
    return {**whole, "memory": needs.memory_bytes or None, "max_retries": MOST_RETRIES}


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise SetupError("the engine 'ray' needs Ray: pip install 'ray[client]'") from error
    # Ray prints what its machines notice to standard output, where results of commands have to be alone.
    ray._private.worker.print_to_stdstream = _log_notice
    return ray


def _log_notice(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    lines = " ".join(data["lines"]).strip().splitlines()
    log.warning("Ray: %s", lines[0] if lines else "a notice without words")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

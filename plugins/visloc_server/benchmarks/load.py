"""Many clients that ask ``visloc serve`` at once: their answers, times, and the server's memory.

Run: python -m plugins.visloc_server.benchmarks.load --data ../shared/data \\
         --markdown plugins/visloc_server/results/server.md

Each client sends a photo of a place, waits for the answer, and sends the next; where the server asks it to come again
later, it waits as long. First one client alone asks, then all of them. Client and server share the computer.
"""

from __future__ import annotations

import math
import os
import threading
import time
from argparse import Namespace
from collections import Counter

import httpx
import numpy as np
import psutil

from benchmarks.places import Place, real_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_server.testing.server_process import WAIT_S, HttpServer, running
from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.evaluation.association import truth_at
from visloc_ros.evaluation.machine import provenance
from visloc_ros.sources.ros_images import encode_jpeg

CENTIMETRES = 100.0
PLACE = "redkitchen"
_STEADY_S = 20  # longer than a process takes to load its models


def main() -> None:
    """One client, then many."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/load")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    add_outputs(parser)
    arguments = parser.parse_args()
    place = next(place for place in real_places(arguments.data) if place.name == PLACE)
    place.open_map(arguments.work)
    os.environ["OMP_NUM_THREADS"] = "1"  # the clients need the other core
    with running(arguments.work) as server:
        runs = {f"{count}": measure(server, place, count, arguments) for count in (1, arguments.clients)}
    write_outputs(arguments, "Many clients", {**provenance(), "runs": runs}, as_table(runs))


def measure(server: HttpServer, place: Place, count: int, arguments: Namespace) -> Figures:
    """Figures of so many clients."""
    load = Load(server, place)
    load.ask(server.client, 0)  # the map and the models are loaded
    load.forget(math.inf)
    clients = [threading.Thread(target=load.client, args=(index,)) for index in range(count)]
    for client in clients:
        client.start()
    _wait_for_processes(server)
    load.forget(arguments.seconds)
    memory_mb = [_memory_mb(server)]
    while any(client.is_alive() for client in clients):
        time.sleep(1.0)
        memory_mb.append(_memory_mb(server))
    found = load.figures(memory_mb)
    print(count, found, flush=True)
    return found


def _wait_for_processes(server: HttpServer) -> None:
    """Wait until the server starts no other process."""
    counts = [0]
    while len(counts) < _STEADY_S or counts[-1] != counts[-_STEADY_S]:
        time.sleep(1.0)
        counts.append(len(psutil.Process(server.process.pid).children(recursive=True)))


def _memory_mb(server: HttpServer) -> float:
    """Memory of the server, with the process that waits for it."""
    process = psutil.Process(server.process.pid)
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 1e6)


class Load:
    """What clients of one place ask, and what they are answered."""

    def __init__(self, server: HttpServer, place: Place) -> None:
        self._url = f"http://127.0.0.1:{server.port}"
        self._frames, self._truth = place.frames(), place.truth()
        self._jpegs = [encode_jpeg(frame.image, 90) for frame in self._frames]
        camera = self._frames[0].camera
        words = [camera.model.name, camera.width, camera.height, *camera.params]
        self._fields = {"map": place.name, "camera": " ".join(map(str, words))}
        self.forget(WAIT_S)

    def forget(self, seconds: float) -> None:
        """Start again, for so long."""
        self._answers: list[tuple[int, float, float | None]] = []
        self._seconds, self._until_s = seconds, time.monotonic() + seconds

    def client(self, index: int) -> None:
        """Ask again and again, from an address of its own."""
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{2 + index}")
        with httpx.Client(transport=transport, timeout=WAIT_S, trust_env=False) as client:
            while time.monotonic() < self._until_s:
                time.sleep(self.ask(client, index))
                index += 7

    def ask(self, client: httpx.Client, index: int) -> float:
        """Ask once; returns how long to wait before the next time."""
        index %= len(self._jpegs)
        begin_s = time.monotonic()
        try:
            answer = client.post(
                f"{self._url}/localize", files={"image": ("image.jpg", self._jpegs[index])}, data=self._fields
            )
        except httpx.TransportError:
            self._answers.append((0, time.monotonic() - begin_s, None))
            return 0.0
        took_s, error = time.monotonic() - begin_s, None
        if answer.is_success and answer.json()["success"]:
            true = truth_at(self._truth, self._frames[index].stamp_ns)
            pose = pose_from_mapping(answer.json()["map_from_camera"])
            error = None if true is None else float(np.linalg.norm(pose.translation - true.translation))
        self._answers.append((answer.status_code, took_s, error))
        return float(answer.headers.get("retry-after", 0.0))

    def figures(self, memory_mb: list[float]) -> Figures:
        """The results."""
        took_ms = [1e3 * took_s for status, took_s, _ in self._answers if status == 200]
        errors = [CENTIMETRES * error for *_, error in self._answers if error is not None]
        statuses = Counter(str(status or "no answer") for status, *_ in self._answers)
        half = memory_mb[len(memory_mb) // 2 :]
        return {
            "statuses": dict(sorted(statuses.items())),
            "searched_per_s": round(len(took_ms) / self._seconds, 2),
            "found": len(errors),
            "took_ms": {f"p{rank}": round(float(np.percentile(took_ms, rank))) for rank in (50, 95)},
            "error_cm": {f"p{rank}": round(float(np.percentile(errors, rank)), 1) for rank in (50, 95)},
            "memory_mb": {"begin": round(memory_mb[0]), "middle": round(half[0]), "end": round(half[-1])},
        }


def as_table(runs: dict[str, Figures]) -> str:
    """A row for each number of clients."""
    rows = [
        [
            count,
            ", ".join(f"{number} x {status}" for status, number in one["statuses"].items()),
            f"{one['searched_per_s']} a second",
            f"{one['took_ms']['p50']} / {one['took_ms']['p95']} ms",
            f"{one['error_cm']['p50']} cm",
            " / ".join(str(one["memory_mb"][when]) for when in ("begin", "middle", "end")) + " MB",
        ]
        for count, one in runs.items()
    ]
    header = ["clients", "answers by status", "searched", "time of an answer, median / 95 %"]
    return table([*header, "error, median", "memory at the begin, the middle, the end"], rows)


if __name__ == "__main__":
    main()

"""How many searches a second several threads and several processes do, their features being known.

Run: python -m plugins.visloc_server.benchmarks.search_processes --data ../shared/data \\
         --markdown plugins/visloc_server/results/server.md

What is left is the processor's part of a search: correspondences, poses and their verification, by nearest neighbours.
Threads share one engine and the interpreter's lock, which PoseLib, COLMAP and large arrays release. Beside other work
processor times say more than searches a second: those of this process, which answers all requests of a server, and
those of the others.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import psutil

from benchmarks.places import real_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.execution.this_computer import num_processors
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_server.config import ServerConfig
from visloc_server.device_queue import Search, SearchRequest
from visloc_server.resident_maps import ResidentMaps
from visloc_server.search_answer import answer_search
from visloc_server.search_processes import SearchProcess, extracted
from visloc_server.uploads import camera_in_words

PLACE = "redkitchen"
WITHIN_S = 600.0


def main() -> None:
    """One worker, then more, in turn."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/load")
    parser.add_argument("--workers", type=int, nargs="+", help="numbers of them; by default 1, 2, 4 to the processors")
    parser.add_argument("--images", type=int, default=40, help="images searched each time")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured; the best counts")
    add_outputs(parser)
    arguments = parser.parse_args()
    counts = arguments.workers or [count for count in (1, 2, 4, 8) if count <= num_processors()]
    found = measure(arguments, counts)
    write_outputs(arguments, "Searches at once", {**provenance(), "ways": found}, as_table(found))


def measure(arguments: Namespace, counts: Sequence[int]) -> Figures:
    """Figures by the number of workers and the way."""
    place = next(place for place in real_places(arguments.data) if place.name == PLACE)
    place.open_map(arguments.work)
    os.environ["OMP_NUM_THREADS"] = "1"
    config = ServerConfig(arguments.work)
    maps = ResidentMaps(config.maps_folder, config.memory_bytes)
    engine = maps.engine(PLACE)
    frames = place.frames()[: arguments.images]
    camera = frames[0].camera
    words = " ".join(map(str, [camera.model.name, camera.width, camera.height, *camera.params]))
    request = SearchRequest(PLACE, camera_in_words(words))
    searches = [Search(encode_jpeg(frame.image, 90), request) for frame in frames]
    for search in searches:
        search.query = engine.extract(search.read())
    processes = [SearchProcess(config, 1, 0) for _ in range(max(counts))]
    ways: dict[str, Sequence[Callable[[Search], object]]] = {
        "threads": [partial(answer_search, maps, extract=extracted)] * max(counts),
        "processes": [partial(one.find, within_s=WITHIN_S) for one in processes],
    }
    for workers in ways.values():
        for worker in workers:
            worker(searches[0])  # the map and the models are loaded
    found: Figures = {}
    for _ in range(arguments.rounds):
        for way, workers in ways.items():
            for count in counts:
                name = f"{count} {way}"
                figures = figures_of(workers[:count], searches, processes)
                found[name] = max(found.get(name, figures), figures, key=lambda one: one["per_s"])
                print(name, figures, flush=True)
    for process in processes:
        process.end()
    return found


def figures_of(
    workers: Sequence[Callable[[Search], object]], searches: Sequence[Search], processes: Sequence[SearchProcess]
) -> Figures:
    """Searches a second where each worker takes the next one, and their processor time."""
    waiting: SimpleQueue[Search | None] = SimpleQueue()
    for search in [*searches, *[None] * len(workers)]:
        waiting.put(search)

    def work(worker: Callable[[Search], object]) -> None:
        while (search := waiting.get()) is not None:
            worker(search)

    begin_s, own_s, others_s = time.perf_counter(), time.process_time(), _processor_s(processes)
    with ThreadPoolExecutor(len(workers)) as threads:
        list(threads.map(work, workers))
    count = len(searches)
    return {
        "per_s": round(count / (time.perf_counter() - begin_s), 1),
        "own_ms": round(1e3 * (time.process_time() - own_s) / count, 1),
        "others_ms": round(1e3 * (_processor_s(processes) - others_s) / count, 1),
    }


def _processor_s(processes: Sequence[SearchProcess]) -> float:
    times = [psutil.Process(process.pid).cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def as_table(found: Figures) -> str:
    """A row for each way and number of workers."""
    rows = [[way, *(f"{one[name]}" for name in ("per_s", "own_ms", "others_ms"))] for way, one in found.items()]
    return table(["searched by", "searches a second", "processor ms of a search, here", "in other processes"], rows)


if __name__ == "__main__":
    main()

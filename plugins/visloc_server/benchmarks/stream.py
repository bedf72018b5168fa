"""A camera streamed over HTTP: poses a second, and the age of each answer at the client.

Run: python -m plugins.visloc_server.benchmarks.stream --data ../shared/data --runs 3 \\
         --markdown plugins/visloc_server/results/server.md

The server is ``visloc serve`` in its own process; the client sends JPEG images at the camera's rate over a WebSocket on
the same computer, and receives the answers. The age counts from the moment at which the image was sent.
"""

from __future__ import annotations

import json
import threading
import time
from argparse import Namespace
from dataclasses import replace

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.places import Place, real_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_server.testing.server_process import WAIT_S, running
from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.association import truth_at
from visloc_ros.evaluation.machine import provenance
from visloc_ros.sources.ros_images import encode_jpeg

LAST_ANSWER_S = 5.0
CENTIMETRES = 100.0


def main() -> None:
    """Stream each place several times."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/stream")
    parser.add_argument("--runs", type=int, default=3)
    add_outputs(parser)
    arguments = parser.parse_args()
    places = (replace(place, queries=replace(place.queries, every=1)) for place in real_places(arguments.data))
    runs = {place.name: measure(place, arguments) for place in places}
    report = {**provenance(), "runs": runs}
    write_outputs(arguments, "A streamed camera", report, as_table(runs))


def measure(place: Place, arguments: Namespace) -> list[Figures]:
    """Figures of each run in one place."""
    place.open_map(arguments.work)
    frames = place.frames()
    jpegs = [encode_jpeg(frame.image, 90) for frame in frames]
    found = []
    with running(arguments.work) as server:
        for _ in range(arguments.runs):
            found.append(run(place, frames, jpegs, server.port))
            print(place.name, found[-1], flush=True)
    return found


def run(place: Place, frames: list[Frame], jpegs: list[bytes], port: int) -> Figures:
    """Stream all images once, at the camera's rate."""
    camera = frames[0].camera
    words = " ".join(map(str, [camera.model.name, camera.width, camera.height, *camera.params]))
    sent_s: list[float] = []
    came: list[tuple[float, Figures]] = []
    with connect(f"ws://127.0.0.1:{port}/stream", max_size=None) as stream:
        stream.send(json.dumps({"map": place.name, "camera": words}))
        stream.send(json.dumps({"stamp_ns": 0}))
        stream.send(jpegs[0])
        stream.recv(WAIT_S)  # the map and the models are loaded
        reading = threading.Thread(target=take_answers, args=(stream, came))
        reading.start()
        begin_s = time.monotonic()
        for frame, jpeg in zip(frames, jpegs, strict=True):
            due_s = begin_s + (frame.stamp_ns - frames[0].stamp_ns) / 1e9
            time.sleep(max(0.0, due_s - time.monotonic()))
            sent_s.append(time.monotonic())
            stream.send(json.dumps({"stamp_ns": frame.stamp_ns}))
            stream.send(jpeg)
        took_s = time.monotonic() - begin_s
        deadline = time.monotonic() + LAST_ANSWER_S
        while came[-1][1]["frame"] < len(frames) and time.monotonic() < deadline:
            time.sleep(0.05)
    reading.join()
    return figures(place, frames, sent_s, came, took_s)


def take_answers(stream: ClientConnection, came: list[tuple[float, Figures]]) -> None:
    """Keep each answer with the time at which it came."""
    try:
        for text in stream:
            came.append((time.monotonic(), json.loads(text)))
    except ConnectionClosed:
        pass  # the client has all that it wanted


def figures(
    place: Place, frames: list[Frame], sent_s: list[float], came: list[tuple[float, Figures]], took_s: float
) -> Figures:
    """What the answers say; the frames are numbered from 1, after the one that waited for the models."""
    numbers = [answer["frame"] for _, answer in came]
    ages_ms = [1e3 * (at_s - sent_s[answer["frame"] - 1]) for at_s, answer in came]
    truth, errors = place.truth(), []
    posed = [answer for _, answer in came if answer["map_from_camera"] is not None]
    for answer in posed:
        true = truth_at(truth, answer["stamp_ns"])
        if true is not None:
            pose = pose_from_mapping(answer["map_from_camera"])
            errors.append(CENTIMETRES * np.linalg.norm(pose.translation - true.translation))
    first = posed[0]["frame"]
    return {
        "frames": len(frames),
        "ordered": numbers == sorted(set(numbers)),
        "answers_per_s": round(len(came) / took_s, 1),
        "camera_hz": round((len(frames) - 1) / took_s, 1),
        "dropped": came[-1][1]["dropped"],
        "first_pose_s": round((frames[first - 1].stamp_ns - frames[0].stamp_ns) / 1e9, 2),
        "age_ms": {f"p{rank}": round(float(np.percentile(ages_ms, rank)), 1) for rank in (50, 95)},
        "error_cm": {f"p{rank}": round(float(np.percentile(errors, rank)), 2) for rank in (50, 95)},
    }


def as_table(runs: dict[str, list[Figures]]) -> str:
    """A row for each place: the worst of its runs."""
    header = ["place", "runs, of which the worst", "frames, all in order", "camera", "answers", "dropped", "first pose"]
    rows = [
        [
            name,
            str(len(found)),
            f"{found[0]['frames']}, {'yes' if all(one['ordered'] for one in found) else 'no'}",
            f"{max(one['camera_hz'] for one in found)} Hz",
            f"{min(one['answers_per_s'] for one in found)} a second",
            str(max(one["dropped"] for one in found)),
            f"{max(one['first_pose_s'] for one in found)} s",
            *(f"{max(one['age_ms'][rank] for one in found)} ms" for rank in ("p50", "p95")),
            f"{max(one['error_cm']['p50'] for one in found)} cm",
        ]
        for name, found in runs.items()
    ]
    return table([*header, "age of the answer, median", "95 % within", "error, median"], rows)


if __name__ == "__main__":
    main()

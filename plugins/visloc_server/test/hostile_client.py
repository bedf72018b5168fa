"""``visloc serve`` under uploads that mean it harm; prints its figures as JSON.

python hostile_client.py MAP FOLDER COUNT SEED: damaged images and videos, spoiled fields, names that lead elsewhere,
requests that are no HTTP, streams of junk, and uploads that are broken off. The server must live, answer only what it
may, tell nothing of itself, and leave nothing behind, neither below its maps nor in its temporary folder nor elsewhere.
"""

import json
import os
import shutil
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
from mapped_room import write_video
from mutations import NASTY, damaged, spoiled
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from plugins.visloc_server.testing.server_process import WAIT_S, running
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg, encode_png

SIMULATION = SimulationConfig(width=160, height=120, focal_px=120.0, duration_s=2.0, rate_hz=2.0)
CAMERA = "PINHOLE 160 120 120 120 80 60"
ALLOWED = {200, 202, 204, 400, 404, 405, 408, 409, 413, 414, 422, 429, 431, 503}
"""What may be answered; 500 is for maps that are broken, and here none is."""
RAW = (
    b"POST /localize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
)
KEPT_BUILDS = 0.1  # of those that are taken; the others are cancelled, some while they are built


class HostileClient:
    """Asks for anything, and notes what is answered."""

    def __init__(self, server, room, video, rng):
        self.client, self.port, self.rng = server.client, server.port, rng
        self.images = [encode_jpeg(room.frame(0).image, 90), encode_png(room.frame(1).image)]
        self.video, self.outcomes, self.answers = video, Counter(), []

    def ask(self):
        """One request of one of the kinds."""
        kinds = (
            self.image,
            self.image,
            self.image,
            self.build,
            self.build,
            self.raw,
            self.stream,
            self.name,
            self.broken_off,
        )
        kind = kinds[int(self.rng.integers(len(kinds)))]
        try:
            outcome = kind()
        except (httpx.TransportError, OSError) as error:
            outcome = type(error).__name__  # it closes the connection to what is no HTTP
        self.outcomes[f"{kind.__name__}: {outcome}"] += 1

    def text(self, good):
        return good if self.rng.random() < 0.7 else spoiled(good, self.rng).decode("utf-8", "replace")

    def note(self, answer):
        self.answers.append(answer.text)
        return answer.status_code

    def image(self):
        good = self.images[int(self.rng.integers(2))]
        content = good if self.rng.random() < 0.2 else damaged(good, self.rng)
        fields = {"map": self.text("room.tar.gz"), "camera": self.text(CAMERA), "prior": self.text("1 0 0 0 0 0 0")}
        given = {name: value for name, value in fields.items() if self.rng.random() < 0.5}
        name = NASTY[int(self.rng.integers(len(NASTY)))]
        return self.note(self.client.post("/localize", files={"image": (name, content)}, data=given))

    def build(self):
        content = damaged(self.video, self.rng)
        parameters = {"name": self.text("office"), "file": self.text("walk.mp4")}
        answer = self.client.post("/reference/build", params=parameters, content=content)
        if answer.status_code == 202 and self.rng.random() > KEPT_BUILDS:
            time.sleep(float(self.rng.choice([0.0, 0.5])))
            self.note(self.client.delete(f"/reference/jobs/{answer.json()['id']}"))
        return self.note(answer)

    def raw(self):
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as connection:
            connection.sendall(damaged(RAW, self.rng) + damaged(self.images[0], self.rng))
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1 << 16).decode("latin-1")
        self.answers.append(answer)
        return int(answer.split(" ")[1]) if answer else "closed"

    def broken_off(self):
        path = f"/reference/build?name=half{int(self.rng.integers(1e9))}" if self.rng.random() < 0.5 else "/localize"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10 * len(self.video)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as connection:
            connection.sendall(head.encode() + self.video)
        return "left"

    def stream(self):
        first = json.dumps({"map": "room.tar.gz", "camera": CAMERA})
        try:
            with connect(f"ws://127.0.0.1:{self.port}/stream", open_timeout=WAIT_S) as stream:
                stream.send(self.text(first))
                for _ in range(int(self.rng.integers(1, 4))):
                    stream.send(damaged(self.images[0], self.rng) if self.rng.random() < 0.7 else self.text("{}"))
                self.answers.append(str(stream.recv(WAIT_S)))
        except WebSocketException as error:
            return type(error).__name__
        return "answered"

    def name(self):
        name = NASTY[int(self.rng.integers(len(NASTY)))] or "..%2F..%2Fvictim"
        method = ("GET", "DELETE")[int(self.rng.integers(2))]
        path = ("/reference/maps/", "/reference/jobs/")[int(self.rng.integers(2))]
        with suppress(httpx.InvalidURL):
            return self.note(self.client.request(method, path + name))
        return "no address"

    def wait_until_idle(self):
        """Give up what still waits, and let go on what is built."""
        while open_jobs := [
            one for one in self.client.get("/reference/jobs").json() if one["state"] in ("queued", "building")
        ]:
            for one in open_jobs:
                if one["state"] == "queued":
                    self.client.delete(f"/reference/jobs/{one['id']}")
            time.sleep(0.2)
        return [one["name"] for one in self.client.get("/reference/jobs").json() if one["state"] == "done"]


def files_below(folder):
    """All paths below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def main():
    map_path, folder, count, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    maps, temporary, video = folder / "maps", folder / "tmp", folder / "walk.mp4"
    for path in (maps, temporary):
        path.mkdir(parents=True)
    shutil.copy(map_path, maps / "room.tar.gz")
    (folder / "victim").write_text("secret")
    room = simulate(SIMULATION, "map")
    write_video(video, SIMULATION)
    before = files_below(folder)
    environment = os.environ | {"TMPDIR": str(temporary), "HOME": str(folder)}
    with running(maps, environment=environment) as server:
        client = HostileClient(server, room, video.read_bytes(), np.random.default_rng(seed))
        for _ in range(count):
            client.ask()
        built = client.wait_until_idle()
        found = server.client.get("/reference/status").json()
    left = files_below(folder) - before - {"maps/.visloc_jobs", "maps/.visloc_jobs/jobs.sqlite"}
    left = {path for path in left if not any(path.startswith(f"maps/{name}") for name in built)}
    statuses = {outcome.split(": ")[1] for outcome in client.outcomes}
    private = [
        answers for answers in client.answers if "Traceback" in answers or str(folder) in answers or "secret" in answers
    ]
    print(
        json.dumps(
            {
                "requests": sum(client.outcomes.values()),
                "outcomes": dict(sorted(client.outcomes.items())),
                "not_allowed": sorted(one for one in statuses if one.isdigit() and int(one) not in ALLOWED),
                "private": private[:3],
                "left_behind": sorted(left),
                "gone": sorted(before - files_below(folder)),
                "maps": [one["name"] for one in found if one["state"] == "ready"],
            }
        )
    )


if __name__ == "__main__":
    main()

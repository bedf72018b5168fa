"""A robot and the server that it asks over HTTP, which is killed: the phases of ``benchmarks.tethered`` for DDS.

Run as root: python -m plugins.visloc_server.benchmarks.tethered --markdown plugins/visloc_server/results/server.md

The robot runs the simulated camera, odometry and fusion, without a map, and the remote anchor node, which asks ``visloc
serve`` on the other machine. The server is killed for 20 s, and started again.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.places import DEMO_MAP
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, write_outputs
from benchmarks.tethered import ADDRESSES, AGAIN_S, GOOD_S, SERVER, START_S, as_table, machines, phase, wait_until
from visloc_ros.evaluation.machine import provenance

KILLED_S, PORT = 20.0, 8090


def main() -> None:
    """Run all phases."""
    parser = new_parser(__doc__)
    add_outputs(parser)
    arguments = parser.parse_args()
    phases = run_phases()
    write_outputs(arguments, "A server that is killed", {**provenance(), "phases": phases}, as_table(phases))


def run_phases() -> Figures:
    """Figures of each phase."""
    with tempfile.TemporaryDirectory() as name, machines() as (robot, server):
        folder, token = Path(name), Path(name) / "token"
        heard, maps = folder / "heard.jsonl", folder / "maps"
        token.write_text(secrets.token_urlsafe(), encoding="utf-8")
        maps.mkdir()
        shutil.copy(DEMO_MAP, maps)
        serve = (sys.executable, "-m", "visloc_ros.apps.cli", "serve", "--maps", str(maps), "--token-file", str(token))
        address = ADDRESSES[SERVER].partition("/")[0]
        searching = server.start(*serve, "--host", address, "--port", str(PORT))
        robot.start_node("simulated_camera_node", {})
        camera = {"camera.transport": "compressed"}
        robot.start_node("localization_node", camera | {"map_tracking.enabled": False})
        asked = {"server_url": f"http://{address}:{PORT}", "token_file": str(token)}
        robot.start_node("visloc_server.nodes.remote_anchor_node", camera | asked)
        robot.start("sh", "-c", f"exec {sys.executable} -m benchmarks.listener > {heard}")
        wait_until(heard, "LOCALIZED", START_S)
        phases = {"good link": phase(heard, GOOD_S)}
        searching.kill()
        phases["server killed"] = phase(heard, KILLED_S)
        server.start(*serve, "--host", address, "--port", str(PORT))
        phases["server started again"] = phase(heard, AGAIN_S)
        return phases


if __name__ == "__main__":
    main()

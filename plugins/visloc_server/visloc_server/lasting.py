"""A server that outlives what native libraries do to one request: its process is restarted when it crashes or hangs."""

from __future__ import annotations

import logging
import socket
import time

from threadpoolctl import threadpool_limits

from visloc_ros.core.child_process import ChildProcess, CrashError, Send
from visloc_ros.core.own_process import keep_freed_memory
from visloc_ros.core.watchdog import WATCHDOG
from visloc_server.config import ServerConfig

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
_ENDING_S = 30.0  # searches under way are answered
_STEADY_S, _PAUSE_S, _LONGEST_PAUSE_S = 60.0, 0.5, 30.0


def answer_requests(listener: socket.socket, config: ServerConfig) -> None:
    """Answer requests at a bound socket until KeyboardInterrupt.

    A crash ends the requests under way; those that come meanwhile wait in the socket.
    """
    pause_s = _PAUSE_S
    while True:
        begin_s = time.monotonic()
        level = logging.getLogger("visloc_ros").getEffectiveLevel()
        process = ChildProcess(_answer, listener, config, level, has_children=True, ending_s=_ENDING_S)
        try:
            return process.result()
        except CrashError as crash:
            pause_s = _PAUSE_S if time.monotonic() - begin_s >= _STEADY_S else min(2.0 * pause_s, _LONGEST_PAUSE_S)
            logger.error("a request has ended the server, which starts again: %s", crash)
            time.sleep(pause_s)


def _answer(_: Send, listener: socket.socket, config: ServerConfig, log_level: int) -> None:
    import uvicorn  # here alone, so that the process that waits for this one stays small

    from visloc_server.app import make_app
    from visloc_server.body_limit import PatientProtocol
    from visloc_server.service import MOST_BODY_BYTES

    keep_freed_memory()
    threadpool_limits(1, "blas")
    logging.getLogger("visloc_ros").setLevel(log_level)
    settings = uvicorn.Config(
        make_app(config),
        http=PatientProtocol,
        log_level="warning",
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        ws_max_size=MOST_BODY_BYTES,
    )
    WATCHDOG.arm()
    uvicorn.Server(settings).run(sockets=[listener])

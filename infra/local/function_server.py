"""`python -m functions_framework`, whose worker process ends with it.

The server forks its worker. If the server was killed, a worker that is busy would stay for as long as its
requests take, though its answers go nowhere, and would keep the port.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

from infra.local.watchdog import die_with_parent

_server = os.getpid()


def _bind_to_server() -> None:
    """Runs in each child that is forked. What the worker itself forks is left alone: its threads come and go."""
    global _server
    server, _server = _server, 0
    if server:
        die_with_parent(server, signal.SIGKILL)


if __name__ == "__main__":
    # The command line's. In production it is not there; structlog would load it: 0.2 s of each start, and 3 MB.
    sys.modules["rich"] = None  # type: ignore[assignment]
    os.register_at_fork(after_in_child=_bind_to_server)
    runpy.run_module("functions_framework", run_name="__main__", alter_sys=True)

"""Runs one command for as long as its parent lives: started as a script, with nothing but the standard library.

    watchdog.py SIGNAL GRACE UID CWD COMMAND...

The parent holds the other end of standard input. When that closes (however the parent died) or on SIGTERM, the
command's whole process group gets SIGNAL, and SIGKILL after GRACE seconds. UID -1 changes no user.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys


def main() -> int:
    stop_signal, grace, uid, cwd, *command = sys.argv[1:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    user = {} if uid == "-1" else {"user": int(uid), "group": int(uid), "extra_groups": []}
    child = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        process_group=0,
        **user,  # type: ignore[call-overload]
    )
    while child.poll() is None:
        ready, _, _ = select.select([0, wake_read], [], [])
        signals = os.read(wake_read, 64) if wake_read in ready else b""
        if (0 in ready and not os.read(0, 64)) or set(signals) & {signal.SIGTERM, signal.SIGINT}:
            _stop(child, int(stop_signal), float(grace))
    _signal(child, signal.SIGKILL)  # what the command left behind in its group
    return int(child.returncode if child.returncode >= 0 else 128 - child.returncode)


def _stop(child: "subprocess.Popen[bytes]", stop_signal: int, grace: float) -> None:
    _signal(child, stop_signal)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main())

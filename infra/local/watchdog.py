"""Runs one command for as long as its parent lives: started as a script, with nothing but the standard library.

    watchdog.py SIGNAL GRACE ORPHAN UID CWD COMMAND...

The parent holds the other end of standard input. When that closes (however the parent died) or on SIGTERM, the
command's whole process group gets SIGNAL, and SIGKILL after GRACE seconds. If the watchdog itself is killed,
Linux sends the command ORPHAN. UID -1 changes no user.

The first line on standard output is the command's process id, which is its group's too.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with_parent(parent: int, number: int) -> None:
    """Makes the kernel send this process a signal when `parent`, which forked it, ends. Does nothing but on Linux.

    It outlasts an exec, and is not inherited. Beware: it is the end of the *thread* that forked which counts.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before it was asked for
        os.kill(os.getpid(), number)


def main() -> int:
    stop_signal, grace, orphan_signal, uid, cwd, *command = sys.argv[1:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    child = _start(command, cwd, int(uid), int(orphan_signal))
    while child.poll() is None:
        ready, _, _ = select.select([0, wake_read], [], [])
        signals = os.read(wake_read, 64) if wake_read in ready else b""
        if (0 in ready and not os.read(0, 64)) or set(signals) & {signal.SIGTERM, signal.SIGINT}:
            _stop(child, int(stop_signal), float(grace))
    _signal(child, signal.SIGKILL)  # what the command left behind in its group
    return int(child.returncode if child.returncode >= 0 else 128 - child.returncode)


def _start(command: list[str], cwd: str, uid: int, orphan_signal: int) -> "subprocess.Popen[bytes]":
    user = {} if uid == -1 else {"user": uid, "group": uid, "extra_groups": []}
    watchdog = os.getpid()

    def before_exec() -> None:
        # Here, since a change of user undoes it. We have one thread, so nothing is locked after the fork.
        die_with_parent(watchdog, orphan_signal)
        os.write(1, b"%d\n" % os.getpid())

    child: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=before_exec,
        **user,
    )
    return child


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

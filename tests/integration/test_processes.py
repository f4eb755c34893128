"""Child processes: watched, restarted, stopped in order, never orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import psutil
import pytest

from infra.local.locks import is_alive
from infra.local.processes import RESTART_SECONDS, Command, StartFailed, Supervisor, free_port
from tests.support.waiting import wait_gone

DEADLINE = 30
FOREVER = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FOREVER}"
WITH_WORKER = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {FOREVER!r}])\n{FOREVER}"
OWNER = f"""
import signal, sys
from infra.local.processes import Command, Supervisor
supervisor = Supervisor(lambda name, line: print(line, flush=True))
supervisor.start(Command(name="child", argv=[sys.executable, "-c", {WITH_WORKER!r}]))
signal.pause()
"""
ROOT = Path(__file__).resolve().parents[2]


class Lines:
    """What the processes wrote, in order."""

    def __init__(self) -> None:
        self.queue: Queue[tuple[str, str]] = Queue()

    def __call__(self, name: str, line: str) -> None:
        self.queue.put((name, line))

    def next_pid(self) -> int:
        """Skips what the supervisor says itself."""
        while True:
            line = self.queue.get(timeout=DEADLINE)[1]
            if line.isdigit():
                return int(line)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def supervisor(lines: Lines) -> Iterator[Supervisor]:
    made = Supervisor(lines)
    yield made
    made.close()


def python(code: str, name: str = "child", **options: object) -> Command:
    return Command(name=name, argv=[sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def test_every_line_is_told_with_the_name_of_its_process(supervisor: Supervisor, lines: Lines) -> None:
    greet = "import sys; print('hello'); print('oh', file=sys.stderr)\n"
    supervisor.start(python(greet + FOREVER, "greeter"))

    heard = {lines.queue.get(timeout=DEADLINE) for _ in range(2)}
    assert heard == {("greeter", "hello"), ("greeter", "oh")}


def test_a_killed_child_is_started_again_and_its_owner_is_told(supervisor: Supervisor, lines: Lines) -> None:
    restarted = threading.Event()
    supervisor.start(python(FOREVER), on_restart=restarted.set)
    first = lines.next_pid()
    assert not restarted.is_set()

    os.kill(first, signal.SIGKILL)

    assert lines.next_pid() != first
    assert restarted.wait(DEADLINE)


def test_an_owner_who_could_not_follow_is_told_again_and_the_child_left_alone(lines: Lines) -> None:
    told: Queue[str] = Queue()
    faults = [ConnectionError("not yet"), ConnectionError("not yet")]

    def follow() -> None:
        told.put("again")
        if faults:
            raise faults.pop()
        told.put("done")

    supervisor = Supervisor(lines, pause=lambda seconds: False)
    supervisor.start(python(FOREVER), on_restart=follow)
    os.kill(lines.next_pid(), signal.SIGKILL)
    second = lines.next_pid()
    heard = [told.get(timeout=DEADLINE) for _ in range(4)]

    assert heard == ["again", "again", "again", "done"]
    assert is_alive(second)
    supervisor.close()
    assert not is_alive(second)


def test_a_child_that_dies_while_its_owner_still_follows_is_started_again(lines: Lines) -> None:
    told: Queue[int] = Queue()
    closing = threading.Event()

    def follow() -> None:
        told.put(1)
        assert closing.wait(DEADLINE)

    supervisor = Supervisor(lines, pause=lambda seconds: False)
    supervisor.start(python(FOREVER), on_restart=follow)
    pids = [lines.next_pid()]
    for _ in range(2):
        os.kill(pids[-1], signal.SIGKILL)
        pids.append(lines.next_pid())
        told.get(timeout=DEADLINE)

    closing.set()
    supervisor.close()
    assert len(set(pids)) == 3


def test_a_child_that_keeps_dying_is_restarted_ever_later_up_to_a_cap(lines: Lines) -> None:
    pauses: Queue[float] = Queue()
    supervisor = Supervisor(lines, clock=lambda: 0.0, pause=_recorder(pauses))

    supervisor.start(python("raise SystemExit(1)"))
    seen = [pauses.get(timeout=DEADLINE) for _ in range(6)]
    supervisor.close()

    assert seen == [*RESTART_SECONDS, RESTART_SECONDS[-1], RESTART_SECONDS[-1]]


def test_a_child_that_ran_for_long_is_restarted_at_once(lines: Lines) -> None:
    pauses: Queue[float] = Queue()
    hours = iter(range(0, 10**6, 3600))
    supervisor = Supervisor(lines, clock=lambda: float(next(hours)), pause=_recorder(pauses))

    supervisor.start(python("raise SystemExit(1)"))
    seen = [pauses.get(timeout=DEADLINE) for _ in range(3)]
    supervisor.close()

    assert seen == [RESTART_SECONDS[0]] * 3


def _recorder(pauses: Queue[float]) -> Callable[[float], bool]:
    """Waits for nothing, and never says that the supervisor was closed."""

    def pause(seconds: float) -> bool:
        pauses.put(seconds)
        return False

    return pause


def test_closing_stops_all_at_once_and_may_be_repeated(supervisor: Supervisor, lines: Lines, tmp_path: Path) -> None:
    """Each says goodbye when the other has been told to go, too: one after the other, both would wait in vain."""
    waits = """
import os, signal, sys, time
mine, other = sys.argv[1:]
def end(*_):
    open(mine, "w").close()
    while not os.path.exists(other):
        time.sleep(0.01)
    print("bye", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
"""
    for name, other in (("first", "second"), ("second", "first")):
        paths = [str(tmp_path / name), str(tmp_path / other)]
        supervisor.start(Command(name=name, argv=[sys.executable, "-c", waits + FOREVER, *paths], grace=DEADLINE))
    pids = [lines.next_pid() for _ in range(2)]

    supervisor.close()
    supervisor.close()

    assert {lines.queue.get(timeout=DEADLINE) for _ in range(2)} == {("first", "bye"), ("second", "bye")}
    assert not any(is_alive(pid) for pid in pids)
    with pytest.raises(StartFailed, match="being stopped"):
        supervisor.start(python(FOREVER))


def test_a_child_that_ignores_the_polite_signal_is_killed(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python(STUBBORN, grace=0.1))
    pid = lines.next_pid()

    supervisor.close()

    assert not is_alive(pid)


def test_a_childs_own_children_go_with_it(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python(WITH_WORKER))
    pids = [lines.next_pid(), lines.next_pid()]

    supervisor.close()

    wait_gone(*pids)


def test_what_never_gets_ready_fails_with_its_last_words(supervisor: Supervisor) -> None:
    with pytest.raises(StartFailed, match="no such book"):
        supervisor.start(python("raise SystemExit('no such book')", ready=lambda: False))


def test_a_program_that_is_not_there_fails_by_name(supervisor: Supervisor) -> None:
    with pytest.raises(StartFailed, match="no-such-program"):
        supervisor.start(Command(name="ghost", argv=["/no-such-program"], ready=lambda: False))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_owner_that_dies_leaves_no_process_behind(number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    with owner, owner.stdout as out:
        pids = [int(out.readline()), int(out.readline())]
        owner.send_signal(number)
        owner.wait(DEADLINE)

    wait_gone(*pids)


def test_a_killed_watchdog_takes_the_whole_family_along_before_the_next_one_starts(
    supervisor: Supervisor, lines: Lines
) -> None:
    starts_worker = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])\n{FOREVER}"
    supervisor.start(python(starts_worker, grace=0.1))
    family = [lines.next_pid(), lines.next_pid()]

    os.kill(supervisor.pid("child"), signal.SIGKILL)

    heirs = [lines.next_pid()]
    assert not any(is_alive(pid) for pid in family)
    heirs.append(lines.next_pid())
    assert not set(heirs) & set(family)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_watchdog_that_is_killed_with_its_owner_leaves_no_command_behind() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner, owner.stdout as out:
        out.readline()
        (watchdog,) = psutil.Process(owner.pid).children()
        (command,) = watchdog.children()
        owner.send_signal(signal.SIGSTOP)  # lest it notices
        watchdog.kill()
        owner.kill()
        # Here, while the command's own child holds the pipe: it got no signal.
        wait_gone(command.pid)
        for worker in psutil.process_iter():
            if worker.pid != os.getpid() and _in_group(worker, command.pid):
                worker.kill()


def _in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False


def test_a_free_port_is_given_once() -> None:
    ports = [free_port() for _ in range(200)]

    assert len(set(ports)) == len(ports)

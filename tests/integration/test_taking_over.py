"""What a local stack finds of the one before it: data, but no process, no message and no live document."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from infra.local.database import publish_again, take_over
from infra.local.stack import running_stack
from shared.use_cases.reconcile import Reconciled
from tests.support.waiting import wait_gone
from tests.support.world import World, manuscript


def reconcile_at_once(world: World) -> Reconciled:
    """Loses all messages first."""
    world.broker.waiting.clear()
    result: Reconciled = world.app.reconcile()
    return result


def test_work_that_was_under_way_is_sent_again_at_once(world: World) -> None:
    book = world.import_book(manuscript())
    world.app.store.claim(f"book-{book}-v1", world.clock())

    take_over(world.dsn)

    assert reconcile_at_once(world).published == 1
    world.run()
    assert world.status(book)["status"] == "completed"


def test_work_that_waited_is_sent_again_at_once(world: World) -> None:
    book = world.import_book(manuscript())
    world.deliver(world.take(world.broker.waiting[0].topic))  # type: ignore[arg-type]
    waiting = len(world.broker.waiting)
    assert waiting > 1
    assert reconcile_at_once(world).published == 0, "the broker would deliver it"

    publish_again(world.dsn)

    assert reconcile_at_once(world).published == waiting
    world.run()
    assert world.status(book)["status"] == "completed"


def test_a_stack_that_was_killed_and_never_reaped_is_not_running(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    environment = {"BINDERY_URL": "http://127.0.0.1:1"}
    (tmp_path / "stack.json").write_text(json.dumps({"pid": process.pid, "environment": environment}))
    (tmp_path / "stack.json").chmod(0o600)
    assert running_stack(tmp_path) == environment

    process.kill()
    wait_gone(process.pid)
    assert running_stack(tmp_path) is None
    process.communicate()

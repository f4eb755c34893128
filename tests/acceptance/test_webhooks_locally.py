"""The local stacks send webhooks too: by the commands of a user, over each backend's own broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import bindery
from tests.support.dev_stack import dev
from tests.support.receiver import Receiver
from tests.support.waiting import poll
from tests.support.world import manuscript


@pytest.mark.parametrize("backend", ["embedded", "emulators"])
def test_an_app_on_this_machine_is_told_and_told_again(
    tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    if backend == "emulators":
        request.getfixturevalue("emulators")
    app, text = Receiver(), tmp_path / "book.txt"
    text.write_text(manuscript(2))

    def run(*arguments: str) -> Any:
        done = bindery(tmp_path, "webhooks", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with dev(tmp_path, backend, {"BINDERY_MODELS": "fake"}):
        made = run("create", app.url, "--event", "book.completed", "--description", "our shop")
        assert bindery(tmp_path, "import", str(text)).returncode == 0
        for _ in poll(60, "the event"):
            if app.received:
                break
        for _ in poll(60, "its record"):
            (delivery,) = run("deliveries", made["webhook_id"])["deliveries"]
            if delivery["state"] == "delivered":
                break
        run("resend", made["webhook_id"], str(delivery["delivery_id"]))
        for _ in poll(60, "the event again"):
            if len(app.received) == 2:
                break
        listed = bindery(tmp_path, "webhooks", "list").stdout
        run("enable", made["webhook_id"])
        run("delete", made["webhook_id"])
        assert bindery(tmp_path, "webhooks", "enable", made["webhook_id"]).returncode == 1
    app.close()

    assert app.ids == [delivery["event_id"]] * 2
    assert "our shop" in listed
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in listed

"""The name that this command was called by, for what it tells people to type."""

from __future__ import annotations

import os


def command_name() -> str:
    """`./infra/bindery` where that script started us (it says so in BINDERY_COMMAND), else `bindery`."""
    return os.environ.get("BINDERY_COMMAND") or "bindery"


BINDERY = command_name()


def examples(*commands: str) -> str:
    """An epilog for a command's help: command lines that can be typed as they are."""
    if len(commands) == 1:
        return f"Example: `{commands[0]}`"
    return "Examples:\n\n" + "\n\n".join(f"- `{command}`" for command in commands)

"""Snapshots of what the broker had still to deliver: their names, and what can be wrong with one."""

from __future__ import annotations

import re

from shared.domain.errors import Rejected

MAX_NAME_LENGTH = 60

# A letter first, and not Google's own prefix: Pub/Sub refuses others.
_NAME = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9-]*")


def check_snapshot_name(name: str) -> str:
    """The name itself. Raises Rejected.

    >>> check_snapshot_name("before-new-model")
    'before-new-model'
    """
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise Rejected(
            f"a snapshot's name has 1 to {MAX_NAME_LENGTH} letters, digits and hyphens, "
            "begins with a letter, and not with goog"
        )
    return name

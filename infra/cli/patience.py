"""How long many imports wait for an API that is busy or away."""

from __future__ import annotations

import logging
from collections.abc import Callable

from urllib3 import BaseHTTPResponse
from urllib3.util import Retry

_BUSY = (429, 502, 503, 504)
_TIMES_BUSY = 120
"""With a `Retry-After` of 30 s, as for too many books under way, an hour; with one of 5 s, ten minutes."""
_TIMES_AWAY = 12
"""Five minutes in which nobody answers."""
_TIMES_SILENT = 3
_LONGEST_PAUSE_SECONDS = 30.0


def patience(say: Callable[[str], None]) -> Retry:
    """Sends again what an API that is busy, or away, did not take: after as long as it says, else after pauses that
    grow. `say` is told each time why; by any thread.

    Only for requests that may be repeated: an import that names its source is one, unless it is forced without a key.
    """
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it would tell of each one, too

    class Patience(Retry):
        def sleep(self, response: BaseHTTPResponse | None = None) -> None:
            after = response.headers.get("Retry-After") if response else None
            busy = f"the API asks to wait {after} s" if after else "the API can't be reached"
            say(f"{busy}; trying again")
            super().sleep(response)

    return Patience(
        total=None,
        connect=_TIMES_AWAY,
        read=_TIMES_SILENT,
        status=_TIMES_BUSY,
        other=0,
        status_forcelist=_BUSY,
        allowed_methods=None,
        raise_on_status=False,
        backoff_factor=1,
        backoff_max=_LONGEST_PAUSE_SECONDS,
        backoff_jitter=1,
    )

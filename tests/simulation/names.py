"""The calls that the simulation tells apart, by the names that the code itself gives them.

Every name is taken from a class or a method: one that is renamed or goes away fails here, at import, and not as a
comparison of strings that is never true again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.adapters.postgres.caches import PostgresAnswerCache, PostgresVectorCache
from shared.adapters.postgres.control import PostgresControl
from shared.adapters.postgres.imports import PostgresImports
from shared.adapters.postgres.job_store import PostgresJobStore
from shared.adapters.postgres.library import PostgresLibrary
from shared.adapters.postgres.redrive_queue import PostgresRedrives
from shared.ports import ContextExtractor, Embedder, LiveDocuments, Publisher


def name_of(method: Callable[..., Any]) -> str:
    """As a transaction's caller is named, `Class.method`."""
    return method.__qualname__


PUBLISHER, LIVE_DOCUMENTS = Publisher.__name__, LiveDocuments.__name__
EMBEDDER, EXTRACTOR = Embedder.__name__, ContextExtractor.__name__
MODELS = (EMBEDDER, EXTRACTOR)

PUBLISH, PUT = name_of(Publisher.publish), name_of(LiveDocuments.put)

CLAIM, COMMIT = name_of(PostgresJobStore.claim), name_of(PostgresJobStore.commit)
SCHEDULE_RETRY, FAIL = name_of(PostgresJobStore.schedule_retry), name_of(PostgresJobStore.fail)
GIVE_PERMITS = name_of(PostgresJobStore.give_permits)
WAIT = name_of(PostgresJobStore.wait)
FAIL_UNDELIVERED = name_of(PostgresJobStore.fail_undelivered)
IMPORT = name_of(PostgresImports.add)
CANCEL, RESUME = name_of(PostgresControl.cancel), name_of(PostgresControl.resume)
DELETE, DROP_ROWS = name_of(PostgresControl.delete), name_of(PostgresControl.drop_rows)
SEND_REDRIVE = name_of(PostgresRedrives.send)
REUSABLE = name_of(PostgresLibrary.reusable)
FIND_VECTORS, KEEP_VECTORS = name_of(PostgresVectorCache.find), name_of(PostgresVectorCache.keep)
FIND_ANSWER, KEEP_ANSWER = name_of(PostgresAnswerCache.find), name_of(PostgresAnswerCache.keep)

WRITE_WHAT_READERS_SEE = tuple(f"{c.__name__}." for c in (PostgresJobStore, PostgresImports, PostgresRedrives))
"""What the calls begin with after which readers may see something else."""

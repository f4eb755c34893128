"""What owners and operators do: cancel, resume, retry, delete; dead letters; replays; projections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from flask import Response
from flask_openapi3.openapi import OpenAPI

from shared.domain.dead_letters import DeadLetterFilter, DeadLetterState, RedriveRequest
from shared.domain.errors import InvalidState, UnknownBook
from shared.http import operation_schemas as s
from shared.http.problems import problem
from shared.http.replies import administrator, caller, described, reply, scope
from shared.http.schemas import BookPath
from shared.ports import Catalogue
from shared.use_cases.control_book import ControlBook
from shared.use_cases.project_again import ProjectAgain
from shared.use_cases.redrive import RedriveDeadLetters
from shared.use_cases.replay import Replay, ReplayRequest
from shared.use_cases.snapshots import Snapshots

MAX_GROUPS = 500

# What an administrator did about a letter is told to its owner; who they are and what they wrote down is not.
_WITHHELD = {"requested_by": "an administrator", "reason": None}


@dataclass(frozen=True, kw_only=True)
class Operations:
    catalogue: Catalogue
    control: ControlBook
    redrive: RedriveDeadLetters
    replay: Replay
    snapshots: Snapshots
    project_again: ProjectAgain


def _require(catalogue: Catalogue, book_id: UUID) -> str:
    """The book's status. Raises UnknownBook if the caller may not see it."""
    row = catalogue.status(scope(), book_id)
    if row is None:
        raise UnknownBook
    return str(row["status"])


def add_operations(app: OpenAPI, parts: Operations) -> None:
    _add_control(app, parts)
    _add_letters(app, parts.redrive)
    _add_redrives(app, parts.redrive)
    _add_replays(app, parts)
    _add_projections(app, parts)


def _add_control(app: OpenAPI, parts: Operations) -> None:
    def status_of(path: BookPath) -> Response:
        return reply(s.ControlReply(book_id=path.book_id, status=_require(parts.catalogue, path.book_id)))

    @app.post("/api/books/<book_id>/cancel", summary="End all work on a book", **described(s.ControlReply, 404, 409))
    def cancel_book(path: BookPath) -> Response:
        parts.control.cancel(scope(), path.book_id)
        return status_of(path)

    @app.post("/api/books/<book_id>/resume", summary="Go on with it", **described(s.ControlReply, 404, 409))
    def resume_book(path: BookPath) -> Response:
        parts.control.resume(scope(), path.book_id)
        return status_of(path)

    @app.post("/api/books/<book_id>/retry", summary="Do again what failed", **described(s.RedriveReply, 404, 409))
    def retry_book(path: BookPath) -> Response:
        _require(parts.catalogue, path.book_id)
        letters = DeadLetterFilter(owner_uid=scope(), book_id=path.book_id)
        redrive = parts.redrive.redrive(RedriveRequest(letters=letters, requested_by=caller().uid))
        if not redrive.accepted and not redrive.refused:
            raise InvalidState("nothing of this book can be done again: nothing failed, or it was discarded")
        return reply(s.RedriveReply.model_validate(asdict(redrive)))

    @app.delete("/api/books/<book_id>", summary="Delete a book for good", **described(None, 404, status=204))
    def delete_book(path: BookPath) -> Response:
        parts.control.delete(scope(), path.book_id)
        return Response(status=204)


def _add_letters(app: OpenAPI, redrive: RedriveDeadLetters) -> None:
    letters = redrive.letters

    @app.get("/api/dead-letters", summary="Dead letters, the newest first", **described(s.DeadLettersReply))
    def dead_letters(query: s.DeadLettersQuery) -> Response:
        rows = letters.page(_chosen(query), query.after, query.limit + 1)
        page = [_entry(r) for r in rows[: query.limit]]
        return reply(
            s.DeadLettersReply(
                dead_letters=[s.DeadLetterEntry.model_validate(e) for e in page],
                next=page[-1]["dead_letter_id"] if len(rows) > query.limit else None,
            )
        )

    @app.get("/api/dead-letters/groups", summary="Dead letters by their cause", **described(s.GroupsReply))
    def dead_letter_groups(query: s.DeadLettersQuery) -> Response:
        rows = letters.groups(_chosen(query), MAX_GROUPS)
        return reply(s.GroupsReply(groups=[s.GroupEntry.model_validate(_entry(r)) for r in rows]))

    @app.get("/api/dead-letters/<dead_letter_id>", summary="A dead letter", **described(s.DeadLetterReply, 404))
    def dead_letter(path: s.DeadLetterPath) -> Response:
        found = letters.page(DeadLetterFilter(owner_uid=scope(), ids=[path.dead_letter_id]), None, 1)
        if not found:
            return problem(404, "there is no such dead letter")
        letter = _entry(found[0]) | {"actions": [dict(a) for a in letters.actions(path.dead_letter_id)]}
        if not caller().admin:
            letter["traceback"] = None
            letter["actions"] = [a if a["requested_by"] == caller().uid else a | _WITHHELD for a in letter["actions"]]
        return reply(s.DeadLetterReply.model_validate(letter))


def _add_redrives(app: OpenAPI, redrive: RedriveDeadLetters) -> None:
    @app.post("/api/dead-letters/redrive", summary="Give letters another chance", **described(s.RedriveReply))
    def redrive_dead_letters(body: s.RedriveBody) -> Response:
        request = RedriveRequest(
            letters=_chosen(body), requested_by=caller().uid, canary=body.canary, per_minute=body.per_minute
        )
        return reply(s.RedriveReply.model_validate(asdict(redrive.redrive(request))))

    @app.get("/api/dead-letters/redrives/<batch_id>", summary="How a redrive goes", **described(s.BatchReply, 404))
    def redrive_batch(path: s.BatchPath) -> Response:
        found = redrive.letters.batch(scope(), path.batch_id)
        if found is None:
            return problem(404, "there is no such redrive")
        return reply(s.BatchReply.model_validate(found))

    @app.post("/api/dead-letters/redrives/<batch_id>/stop", summary="Send no more", **described(s.StopReply, 404))
    def stop_batch(path: s.BatchPath) -> Response:
        if redrive.letters.batch(scope(), path.batch_id) is None:
            return problem(404, "there is no such redrive")
        return reply(s.StopReply(stopped=redrive.stop(scope(), path.batch_id, caller().uid)))

    @app.post("/api/dead-letters/discard", summary="Give up on letters", **described(s.DiscardReply))
    def discard_dead_letters(body: s.DiscardBody) -> Response:
        return reply(s.DiscardReply(discarded=redrive.discard(_chosen(body), caller().uid, body.reason)))


def _add_replays(app: OpenAPI, parts: Operations) -> None:
    replay, snapshots = parts.replay, parts.snapshots

    @app.post("/api/replays", summary="Deliver messages again", **described(s.ReplayReply, 404, status=202))
    def begin_replay(body: s.ReplayBody) -> Response:
        request = ReplayRequest(
            topic=body.stage,
            requested_by=administrator().uid,
            since=body.since,
            snapshot=body.snapshot,
            book_id=body.book_id,
        )
        if body.book_id:
            _require(parts.catalogue, body.book_id)
        expected = replay.expected(request)
        replay_id = None if body.dry_run else replay.begin(request)
        return reply(s.ReplayReply(replay_id=replay_id, stage=body.stage, expected=expected), 202)

    @app.get("/api/replays/<replay_id>", summary="A replay's receipt", **described(s.ReplayReply, 404))
    def replay_receipt(path: s.ReplayPath) -> Response:
        administrator()
        receipt = replay.replays.receipt(path.replay_id)
        if receipt is None:
            return problem(404, "there is no such replay")
        return reply(s.ReplayReply.model_validate(dict(receipt)))

    @app.get("/api/snapshots", summary="Snapshots of the queues", **described(s.SnapshotsReply))
    def list_snapshots() -> Response:
        administrator()
        entries = [s.SnapshotEntry.model_validate(e) for e in snapshots.list()]
        return reply(s.SnapshotsReply(snapshots=entries))

    @app.post("/api/snapshots", summary="Keep what is queued", **described(s.SnapshotBody, 409, status=201))
    def create_snapshot(body: s.SnapshotBody) -> Response:
        administrator()
        snapshots.create(body.name)
        return reply(body, 201)

    @app.delete("/api/snapshots/<name>", summary="Delete a snapshot", **described(None, 404, status=204))
    def delete_snapshot(path: s.SnapshotPath) -> Response:
        administrator()
        snapshots.delete(path.name)
        return Response(status=204)


def _add_projections(app: OpenAPI, parts: Operations) -> None:
    @app.post("/api/projections", summary="Write live documents anew", **described(s.ProjectionReply, 404, status=202))
    def begin_projection(body: s.ProjectionBody) -> Response:
        administrator()
        if body.book_id:
            _require(parts.catalogue, body.book_id)
        return reply(s.ProjectionReply(books=parts.project_again.begin(body.book_id)), 202)

    @app.post("/api/projections/next", summary="Write some of them now", **described(s.ProjectedReply))
    def project_next() -> Response:
        administrator()
        projected, left = parts.project_again.next()
        return reply(s.ProjectedReply(projected=projected, left=left))


def _chosen(choice: s.DeadLettersQuery | s.DeadLettersBody) -> DeadLetterFilter:
    """What was asked for, of what the caller may see."""
    named = choice.model_dump(include={"ids", "stage", "book_id", "fingerprint", "state", "since", "until"})
    return DeadLetterFilter(owner_uid=scope(), **{"state": DeadLetterState.OPEN, **named})


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "stage": row["type"]}

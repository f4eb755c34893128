"""Makes, lists and revokes keys, and finds out for whom they act."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from shared.domain.api_keys import PREFIX, ApiKey, digest, read_token, write_token
from shared.domain.errors import Forbidden, Unauthenticated
from shared.domain.identity import Caller, Scope
from shared.ports import ApiKeys, Authenticator, Clock

_NOTED_AGAIN = timedelta(minutes=1)
_BEARER = "bearer "

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class KeyRequest:
    """`owner_uid`: for whom the key is to act; None is any user that a request names. `lifetime` None is for ever."""

    name: str
    owner_uid: str | None
    scopes: frozenset[Scope]
    lifetime: timedelta | None


@dataclass(frozen=True, kw_only=True)
class ManageKeys:
    keys: ApiKeys
    clock: Clock
    new_id: Callable[[], UUID]
    new_secret: Callable[[], str]

    def create(self, caller: Caller, request: KeyRequest) -> tuple[ApiKey, str]:
        """The key, and the token that is told this once. Raises Forbidden for what only administrators may give."""
        _check_person(caller)
        if not caller.admin and (request.owner_uid != caller.uid or Scope.ADMIN in request.scopes):
            raise Forbidden("administrators alone make keys that act for others, or that administrate")
        if Scope.ADMIN in request.scopes and request.owner_uid != caller.uid:
            raise Forbidden("a key that administrates acts for who made it: make two keys")
        now, secret = self.clock(), self.new_secret()
        key = ApiKey(
            key_id=self.new_id(),
            name=request.name,
            owner_uid=request.owner_uid,
            scopes=sorted(request.scopes),
            created_by=caller.uid,
            created_at=now,
            expires_at=now + request.lifetime if request.lifetime else None,
        )
        self.keys.add(key, digest(secret))
        log.info("key.created", key_id=str(key.key_id), scopes=key.scopes, any_user=key.owner_uid is None)
        return key, write_token(key.key_id, secret)

    def of(self, caller: Caller) -> Sequence[ApiKey]:
        """Those that the caller made; for an administrator, all. The newest first."""
        _check_person(caller)
        return self.keys.made_by(None if caller.admin else caller.uid)

    def revoke(self, caller: Caller, key_id: UUID) -> bool:
        """From now on the key is not valid. False if there is none that the caller may revoke."""
        _check_person(caller)
        revoked = self.keys.revoke(key_id, None if caller.admin else caller.uid, self.clock())
        if revoked:
            log.info("key.revoked", key_id=str(key_id))
        return revoked


@dataclass(frozen=True, kw_only=True)
class AuthenticateCaller:
    """By a key if a request has one, else by `users`."""

    users: Authenticator
    keys: ApiKeys
    clock: Clock

    def __call__(self, authorization: str | None, acts_for: str | None) -> Caller:
        """`acts_for` is the user whom the request names. Raises Unauthenticated, and Forbidden if the caller may not
        act for that user."""
        if authorization and authorization.lower().startswith(_BEARER + PREFIX):
            return self._by_key(authorization[len(_BEARER) :].strip(), acts_for)
        caller = self.users.authenticate(authorization)
        if acts_for not in (None, caller.uid):
            raise Forbidden("users act for themselves alone: to act for others takes a key")
        return caller

    def _by_key(self, token: str, acts_for: str | None) -> Caller:
        now = self.clock()
        named = read_token(token)
        found = self.keys.find(named[0]) if named else None
        if not named or not found or not hmac.compare_digest(found[1], named[1]) or not found[0].is_valid(now):
            raise Unauthenticated("the key is not valid: it may have been revoked, or have expired")
        key = found[0]
        if key.last_used_at is None or now - key.last_used_at >= _NOTED_AGAIN:
            self.keys.note_use(key.key_id, now)
        uid = key.owner_uid or acts_for
        if uid is None:
            raise Forbidden("this key acts for users: name one in the header Bindery-User")
        if acts_for not in (None, uid):
            raise Forbidden("this key acts for one user alone, and the header Bindery-User names another")
        scopes = frozenset(key.scopes)
        return Caller(uid=uid, admin=Scope.ADMIN in scopes, key_id=key.key_id, scopes=scopes)


def _check_person(caller: Caller) -> None:
    """A key that leaks must not make others, nor keep itself alive."""
    if caller.key_id is not None:
        raise Forbidden("keys are managed by people, not by keys")

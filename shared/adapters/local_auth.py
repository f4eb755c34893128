"""Authentication for one machine: everyone is the local user. `Config` refuses it in the cloud."""

from __future__ import annotations

from shared.domain.identity import Caller


class LocalAuthenticator:
    def __init__(self, uid: str) -> None:
        self._caller = Caller(uid=uid, admin=True)

    def authenticate(self, authorization: str | None) -> Caller:
        return self._caller


class LocalPushVerifier:
    def verify(self, authorization: str | None) -> None:
        """Accept every call: the local stack's functions listen on the loopback interface alone."""

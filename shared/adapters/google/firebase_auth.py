"""Authenticates users by their Firebase ID tokens."""

from __future__ import annotations

from typing import Any

from shared.adapters.google.tokens import CachedRequest, bearer_token, verified
from shared.domain.errors import Unauthenticated
from shared.domain.identity import Caller

_MAX_UID = 128


class FirebaseAuthenticator:
    """Accepts tokens of one project. `admin` is a custom claim."""

    def __init__(self, project: str, request: CachedRequest | None = None) -> None:
        self._project = project
        self._request = request or CachedRequest()

    def authenticate(self, authorization: str | None) -> Caller:
        token = bearer_token(authorization)
        from google.oauth2 import id_token

        claims: dict[str, Any] = verified(id_token.verify_firebase_token, token, self._request, self._project)
        uid = claims.get("sub")
        if not isinstance(uid, str) or not 0 < len(uid) <= _MAX_UID or "\0" in uid:
            raise Unauthenticated("the token names no user")
        # google-auth leaves the issuer to its callers.
        if claims.get("iss") != f"https://securetoken.google.com/{self._project}":
            raise Unauthenticated("the token is not valid here; get a new one")
        return Caller(uid=uid, admin=claims.get("admin") is True)

"""Verifies that Pub/Sub or Cloud Scheduler is calling, by the OIDC tokens of their service account."""

from __future__ import annotations

from shared.adapters.google.tokens import CachedRequest, bearer_token, verified
from shared.domain.errors import Unauthenticated


class OidcPushVerifier:
    def __init__(self, audience: str, service_account: str, request: CachedRequest | None = None) -> None:
        self._audience = audience
        self._service_account = service_account
        self._request = request or CachedRequest()

    def verify(self, authorization: str | None) -> None:
        token = bearer_token(authorization)
        from google.oauth2 import id_token

        claims = verified(id_token.verify_oauth2_token, token, self._request, self._audience)
        if claims.get("email") != self._service_account or claims.get("email_verified") is not True:
            raise Unauthenticated("this account may not push")

"""What an owner may do with a book that is being made."""

from __future__ import annotations

from shared.domain.errors import BinderyError


class NotNow(BinderyError):
    """The book is not in a state for that; the message says which it is in."""


class TooManyBooks(BinderyError):
    """The user has as many books under way as are allowed."""

"""What is wrong with a value, in plain English and with what to do, for each error of our schemas and settings."""

from __future__ import annotations

from typing import Any

# By Pydantic's names of errors; braces name what the error knows (its `ctx`), and the verb of who gives the value.
_SENTENCES = {
    "bool_parsing": "is neither true nor false; {verb} one of them",
    "bool_type": "is neither true nor false; {verb} one of them",
    "datetime_from_date_parsing": "is no time; {verb} one in ISO 8601, as 2026-01-31T12:00:00Z",
    "datetime_object_invalid": "is no time; {verb} one in ISO 8601, as 2026-01-31T12:00:00Z",
    "datetime_parsing": "is no time; {verb} one in ISO 8601, as 2026-01-31T12:00:00Z",
    "datetime_type": "is no time; {verb} one in ISO 8601, as 2026-01-31T12:00:00Z",
    "dict_type": "is no object; {verb} an object of the fields that are described",
    "enum": "is unknown; {verb} one of {expected}",
    "extra_forbidden": "is no field of this request; leave it out",
    "float_parsing": "is no number; {verb} one",
    "finite_number": "is no whole number; {verb} one",
    "greater_than_equal": "is too small; {verb} {ge} or more",
    "int_from_float": "is no whole number; {verb} one",
    "int_parsing": "is no whole number; {verb} one",
    "int_parsing_size": "has too many digits; {verb} a smaller number",
    "int_type": "is no whole number; {verb} one",
    "json_invalid": "is not JSON ({error}); {verb} an object of the fields that are described",
    "less_than_equal": "is too large; {verb} {le} or less",
    "list_type": "is no list; {verb} one",
    "literal_error": "is unknown; {verb} {expected}",
    "missing": "is missing; {verb} it",
    "model_attributes_type": "is no object; {verb} an object of the fields that are described",
    "model_type": "is no object; {verb} an object of the fields that are described",
    "string_sub_type": "is no text; {verb} a string",
    "string_too_long": "is too long; {verb} {max_length} characters at most",
    "string_too_short": "is too short; {verb} {min_length} or more characters",
    "string_type": "is no text; {verb} a string",
    "string_unicode": "is no text; {verb} a string of Unicode characters",
    "timezone_aware": "lacks its time zone; add Z for UTC, or an offset as +02:00",
    "too_long": "has too many entries; {verb} {max_length} at most",
    "too_short": "has too few entries; {verb} {min_length} or more",
    "uuid_parsing": "is no id; {verb} a UUID, as 123e4567-e89b-12d3-a456-426614174000",
    "uuid_type": "is no id; {verb} a UUID, as 123e4567-e89b-12d3-a456-426614174000",
    "value_error": "{error}",
}
_NAMES = "is no name here; begin with a lower-case letter, and use only a-z, 0-9 and hyphens, 60 characters at most"
_PATTERNS = {r"^[a-z][a-z0-9-]{0,59}$": _NAMES}


def explain(error: Any, verb: str = "send") -> str:
    """A sentence about one of `ValidationError.errors()`; Pydantic's own where we have none."""
    context = error.get("ctx", {})
    kind = error["type"]
    if kind in ("too_long", "too_short") and context["field_type"] != "List":
        kind = f"string_{kind}"
    sentence = _PATTERNS.get(context.get("pattern")) or _SENTENCES.get(kind)
    known = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
    return sentence.format_map({**known, "verb": verb}) if sentence else str(error["msg"])

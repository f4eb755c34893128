"""Tables of infra/README.md, from the code."""

from __future__ import annotations

from shared.config import Config
from shared.domain.error_codes import MESSAGES
from shared.http.codes import CODES


def settings_table() -> str:
    """Markdown: a row for each setting of `Config`."""
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for name, field in Config.model_fields.items():
        default = "–" if field.default in ("", ()) else f"`{field.default}`"
        variable = field.validation_alias or f"BINDERY_{name.upper()}"
        rows.append(f"| `{variable}` | {default} | {field.description} |")
    return "\n".join(rows)


def codes_table() -> str:
    """Markdown: a row for each code of a problem."""
    rows = ["| `code` | status | when |", "| --- | --- | --- |"]
    return "\n".join(rows + [f"| `{code}` | {status} | {when} |" for code, (status, when) in CODES.items()])


def errors_table() -> str:
    """Markdown: a row for each code of a book's, chapter's or job's error."""
    rows = ["| `code` | `message` |", "| --- | --- |"]
    return "\n".join(rows + [f"| `{code}` | {message} |" for code, message in MESSAGES.items()])

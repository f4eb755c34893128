"""The table of settings in infra/README.md, from the code."""

from __future__ import annotations

from shared.config import Config


def settings_table() -> str:
    """Markdown: a row for each setting of `Config`."""
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for name, field in Config.model_fields.items():
        default = "–" if field.default in ("", ()) else f"`{field.default}`"
        rows.append(f"| `BINDERY_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)

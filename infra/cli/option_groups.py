"""Options that many commands take: declared once, as the fields of a dataclass.

A command names the dataclass as the type of one parameter. Each field becomes an option of the command, shown in its
help and taken after its name as any other, and the command gets the object that they make.

    @dataclass(frozen=True, kw_only=True)
    class Context:
        url: Annotated[str | None, typer.Option("--url", help="A deployment.")] = None

    @app.command()
    def books(context: Context, limit: int = 50) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from inspect import Parameter
from typing import Any, TypeVar, get_type_hints

import typer

Command = TypeVar("Command", bound=Callable[..., None])


class Commands(typer.Typer):
    """A Typer whose commands may take option groups."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Command], Command]:
        register = super().command(*args, **kwargs)

        def add(command: Command) -> Command:
            register(_ungrouped(command))
            return command

        return add


def _ungrouped(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with a parameter for each option, as Typer reads it from a signature."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    own = inspect.signature(command).parameters.values()
    parameters = [_keyword(p.name, p.default, hints[p.name]) for p in own if p.name not in groups]
    for group in groups.values():
        types = get_type_hints(group, include_extras=True)
        parameters += [_keyword(field.name, field.default, types[field.name]) for field in fields(group)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _keyword(name: str, default: Any, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

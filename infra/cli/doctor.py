"""`bindery doctor`: what Bindery needs, one after the other, and of each fault its cause and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import typer
from rich.text import Text

from infra.cli.client import ApiError, Client
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.endings import FAILED
from infra.cli.option_groups import Commands
from infra.cli.view import console

commands = Commands()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`cause` is what is wrong, None if nothing is; `next` a command, or what to do. `found` is what was seen."""

    check: str
    found: str = ""
    cause: str | None = None
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """`ask` says what it found, or raises ApiError: `next` is what to do then. After one that `ends`, none is asked."""

    name: str
    ask: Callable[[Client], str]
    next: str
    ends: bool = True


def _api(client: Client) -> str:
    client.get("/healthz")
    return client.url


def _database(client: Client) -> str:
    client.get("/readyz")
    return "PostgreSQL answers, and its migrations are applied"


def _caller(client: Client) -> str:
    counts = client.get("/api/books", limit=1, totals="true")["totals"]
    return ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "no books yet"


def _dead_letters(client: Client) -> str:
    letters = client.get("/api/dead-letters", limit=500)["dead_letters"]
    if letters:
        count = "500 or more" if len(letters) == 500 else len(letters)
        raise ApiError(200, f"{count} open: work that failed for good")
    return "none open"


CHECKS = (
    Check(name="api", ask=_api, next=f"start a local stack with `{BINDERY} dev`, or name a deployment by --url"),
    Check(
        name="database",
        ask=_database,
        next=f"see that it runs, and is the functions' BINDERY_DATABASE_URL; `{BINDERY} migrate` brings it up to date",
    ),
    Check(name="books", ask=_caller, next=f"give --token: a Firebase ID token, or a key of `{BINDERY} keys create`"),
    Check(
        name="dead letters", ask=_dead_letters, next=f"`{BINDERY} dead-letters groups` shows their causes", ends=False
    ),
)


@commands.command(epilog=examples(f"{BINDERY} doctor", f"{BINDERY} doctor --url https://api.example --token …"))
def doctor(context: Context) -> None:
    """Check what Bindery needs, and say of each fault its cause and what to do next."""
    findings = list(examine(context.client))
    context.show([asdict(finding) for finding in findings], lambda _: _show(findings))
    if any(finding.cause for finding in findings):
        raise typer.Exit(FAILED)


def examine(client: Client) -> Iterator[Finding]:
    """What is found, up to the first fault without which the rest can't be asked."""
    for check in CHECKS:
        try:
            yield Finding(check=check.name, found=check.ask(client))
        except ApiError as error:
            yield Finding(check=check.name, cause=str(error), next=check.next)
            if check.ends:
                return


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        mark, style = ("✗", "red") if finding.cause else ("✓", "green")
        told = f" {finding.check:<13} {finding.cause or finding.found}"
        console.print(Text.assemble((mark, style), told), soft_wrap=True)
        if finding.next:
            console.print(Text(f"  {'':<13} → {finding.next}"), soft_wrap=True)

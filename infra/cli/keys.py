"""Keys by which machines call the API."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from infra.cli import view
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.endings import USAGE, say, stop
from infra.cli.option_groups import Commands

keys = Commands(no_args_is_help=True, help="Keys by which machines call the API.")


@keys.command(
    "create",
    epilog=examples(
        f"{BINDERY} keys create 'nightly import'",
        f"{BINDERY} keys create 'our backend' --any-user",
        f"{BINDERY} keys create 'monitoring' --scope read --days 90",
    ),
)
def create_key(
    context: Context,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="read, write or admin; without any: read and write.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="It acts for this user, not for you.")] = None,
    any_user: Annotated[
        bool, typer.Option("--any-user", help="It acts for the user whom a request's header Bindery-User names.")
    ] = False,
    days: Annotated[int | None, typer.Option(min=1, help="How long it is valid; else until it is revoked.")] = None,
) -> None:
    """Make a key, and print its token: it is told this once."""
    if any_user and user is not None:
        stop("name one of --user and --any-user", USAGE)
    body: dict[str, Any] = {"name": name, "any_user": any_user}
    body |= {"scopes": scopes} if scopes else {}
    body |= {"owner_uid": user} if user else {}
    body |= {"expires_in_days": days} if days else {}
    context.show(context.client.post("/api/keys", body), _show_token)


def _show_token(made: Any) -> None:
    print(made["token"])
    say("keep it: it is not told again")


@keys.command("list", epilog=examples(f"{BINDERY} keys list"))
def list_keys(context: Context) -> None:
    """List the keys that you made; an administrator's list has all."""
    context.show(context.client.get("/api/keys"), _show_keys)


def _show_keys(reply: Any) -> None:
    for key in reply["keys"]:
        whom = key["owner_uid"] or "any user"
        used = f"last used {view.plain(key['last_used_at'])}" if key["last_used_at"] else "never used"
        ends = [f"{what} {view.plain(key[f'{what}_at'])}" for what in ("expires", "revoked") if key[f"{what}_at"]]
        line = f"{key['key_id']}  {view.plain(key['name'])}  for {view.plain(whom)}  {'+'.join(key['scopes'])}"
        view.console.print("  ".join([line, used, *ends]), highlight=False, soft_wrap=True)
    if not reply["keys"]:
        say("there are no keys")


@keys.command("revoke", epilog=examples(f"{BINDERY} keys revoke 5b1ef0d2-…"))
def revoke_key(context: Context, key: Annotated[str, typer.Argument(help="The key's id, as `list` shows it.")]) -> None:
    """Make a key invalid, from now on."""
    context.client.delete(f"/api/keys/{quote(key, safe='')}")
    context.show({"revoked": key}, lambda _: print(f"key {key}: revoked"))

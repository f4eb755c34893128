"""Endpoints of apps that are told when a book ends."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from infra.cli import view
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.endings import say
from infra.cli.option_groups import Commands

webhooks = Commands(no_args_is_help=True, help="Endpoints of apps that are told when a book ends.")

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The webhook's id, as `list` shows it.")]


@webhooks.command(
    "create",
    epilog=examples(
        f"{BINDERY} webhooks create https://app.example/hooks",
        f"{BINDERY} webhooks create https://app.example/hooks --event book.failed",
    ),
)
def create_webhook(
    context: Context,
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its URL: https, at a public address.")],
    events: Annotated[
        list[str] | None, typer.Option("--event", help="book.completed, book.failed, …; without any: all.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Have an app told when a book ends, and print the secret that signs it: it is told this once."""
    body: dict[str, Any] = {"url": endpoint, "description": description}
    body |= {"events": events} if events else {}
    context.show(context.client.post("/api/webhooks", body), _show_secret)


def _show_secret(made: Any) -> None:
    print(made["secret"])
    say(f"webhook {made['webhook_id']}; keep the secret: it is not told again")


@webhooks.command("list", epilog=examples(f"{BINDERY} webhooks list"))
def list_webhooks(context: Context) -> None:
    """List your webhooks."""
    context.show(context.client.get("/api/webhooks"), _show_webhooks)


def _show_webhooks(reply: Any) -> None:
    for webhook in reply["webhooks"]:
        line = [webhook["webhook_id"], view.plain(webhook["url"]), "+".join(webhook["events"])]
        line += [view.plain(webhook["description"])] if webhook["description"] else []
        if webhook["disabled_at"]:
            line.append(f"disabled {view.plain(webhook['disabled_at'])}: {webhook['disabled_because']}")
        elif webhook["failing_since"]:
            line.append(f"failing since {view.plain(webhook['failing_since'])}")
        view.console.print("  ".join(line), highlight=False, soft_wrap=True)
    if not reply["webhooks"]:
        say("there are no webhooks")


@webhooks.command("delete", epilog=examples(f"{BINDERY} webhooks delete 5b1ef0d2-…"))
def delete_webhook(context: Context, webhook: WebhookId) -> None:
    """Delete a webhook and its deliveries."""
    context.client.delete(_path(webhook))
    context.show({"deleted": webhook}, lambda _: print(f"webhook {webhook}: deleted"))


@webhooks.command("enable", epilog=examples(f"{BINDERY} webhooks enable 5b1ef0d2-…"))
def enable_webhook(context: Context, webhook: WebhookId) -> None:
    """Send to a webhook again that was disabled: what is pending, too."""
    context.show(context.client.post(f"{_path(webhook)}/enable", {}), lambda _: print(f"webhook {webhook}: enabled"))


@webhooks.command("deliveries", epilog=examples(f"{BINDERY} webhooks deliveries 5b1ef0d2-…"))
def list_deliveries(
    context: Context,
    webhook: WebhookId,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    after: Annotated[int | None, typer.Option(min=1, help="The last id of the page before.")] = None,
) -> None:
    """List what was sent to a webhook, the newest first."""
    context.show(context.client.get(f"{_path(webhook)}/deliveries", limit=limit, after=after), _show_deliveries)


def _show_deliveries(reply: Any) -> None:
    for delivery in reply["deliveries"]:
        tried = f"{delivery['attempts']} attempts"
        answers = [str(delivery[f]) for f in ("last_status", "last_error") if delivery[f]]
        ahead = [f"next {view.plain(delivery['next_attempt_at'])}"] if delivery["next_attempt_at"] else []
        line = [str(delivery["delivery_id"]), delivery["state"], delivery["event_id"], tried, *answers, *ahead]
        view.console.print("  ".join(line), highlight=False, soft_wrap=True)
    if not reply["deliveries"]:
        say("nothing was sent yet")


@webhooks.command("resend", epilog=examples(f"{BINDERY} webhooks resend 5b1ef0d2-… 17"))
def resend_delivery(
    context: Context,
    webhook: WebhookId,
    delivery: Annotated[int, typer.Argument(metavar="DELIVERY", help="The delivery's id, as `deliveries` shows it.")],
) -> None:
    """Send an event again, whatever came of it."""
    sent = context.client.post(f"{_path(webhook)}/deliveries/{delivery}/resend", {})
    context.show(sent, lambda _: print(f"delivery {delivery}: it is sent again"))


def _path(webhook: str) -> str:
    return f"/api/webhooks/{quote(webhook, safe='')}"

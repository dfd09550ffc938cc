"""`serve`: the store over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli import output
from holdfast.cli.options import common
from holdfast.cli.output import Failed
from holdfast.cli.run import configured, worded

__all__ = ["serve"]


@click.command("serve")
@common
@click.option("--host", metavar="ADDRESS", help="Address to listen on; 127.0.0.1 unless told.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="8000 unless told; 0 is any free one."
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes; 1 unless told.")
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="A name this server answers to; may be repeated."
)
@click.option(
    "--site", metavar="URL", help="What this serves, as the world sees it; mentions of it are taken in."
)
@click.option(
    "--accept",
    type=click.Choice(["all", "known", "none"]),
    help="Whose mentions need no moderation; known unless told: who had one accepted before.",
)
@click.option(
    "--webmention-allow",
    multiple=True,
    metavar="HOST:PORT",
    help="For development: mentions may be fetched from there, though it is no public address.",
)
@click.option(
    "--dry-outbox/--no-dry-outbox", default=None, help="Rehearse mentions that go out; nobody is told."
)
@click.option("--root-path", metavar="PATH", help="Where a proxy serves this: /store.")
@click.option(
    "--forwarded-allow-ips", metavar="IPS", help="Whose X-Forwarded-* are believed; 127.0.0.1 unless told."
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The admin token is this file's first line.",
)
@click.option("--chat/--no-chat", default=None, help="The demonstration chat, at /chat.")
@click.option("--auto-migrate/--no-auto-migrate", default=None, help="Make and update tables at the start.")
@click.option(
    "--max-bytes", type=click.IntRange(min=1), metavar="N", help="Largest value; 1 MiB unless told."
)
def serve(
    host: str | None,
    port: int | None,
    workers: int | None,
    allow_host: tuple[str, ...],
    site: str | None,
    accept: str | None,
    webmention_allow: tuple[str, ...],
    dry_outbox: bool | None,
    root_path: str | None,
    forwarded_allow_ips: str | None,
    token_file: Path | None,
    chat: bool | None,
    auto_migrate: bool | None,
    max_bytes: int | None,
) -> None:
    """Serve the store over HTTP, with a dashboard, /health and /metrics.

    The first start makes an admin token and prints it, once. A token never
    stands on the command line, where every user of the machine could read it:
    HOLDFAST_TOKEN or --token-file names another. Every option but
    --webmention-allow has a variable: --port is HOLDFAST_PORT, --accept
    HOLDFAST_WEBMENTION_ACCEPT.
    """
    settings = configured(
        host=host,
        port=port,
        workers=workers,
        allow_hosts=allow_host or None,
        site=site,
        webmention_accept=accept,
        dry_outbox=dry_outbox,
        root_path=root_path,
        forwarded_allow_ips=forwarded_allow_ips,
        token_file=None if token_file is None else str(token_file),
        chat=chat,
        auto_migrate=auto_migrate,
        max_bytes=max_bytes,
    )
    try:
        from holdfast.web import server
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "holdfast":
            raise
        words = f'serve: {exc.name} is not installed; pip install "holdfast[serve]"'
        raise Failed(output.USAGE, words, kind="MissingExtra") from exc
    with worded("serve"):
        server.run(settings, allow=webmention_allow)

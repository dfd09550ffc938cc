"""A group of commands that answers a misspelt name with the right one."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli import output

__all__ = ["Group"]


class Group(click.Group):
    """Without a command it shows its help, and that is wrong use."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"invoke_without_command": True, **settings})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            from holdfast.store import closest

            raise click.UsageError(f"no such command {args[0]!r}{closest(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        found = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(output.USAGE)
        return found

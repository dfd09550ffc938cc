"""The options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import click

__all__ = ["NEVER", "Choices", "Values", "common", "lifetime", "made_for", "reaching"]

NEVER: Final = "none"
C = TypeVar("C", bound=Callable[..., Any])


@dataclass
class Choices:
    """What was chosen for the whole run; None leaves it to the environment."""

    store: str | None = None
    namespace: str | None = None
    json: bool = False


def made_for(ctx: click.Context) -> Choices:
    """The run's one `Choices`, on the outermost context, so that both places of an option write to it."""
    found = ctx.find_root().ensure_object(Choices)
    assert isinstance(found, Choices)
    return found


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    # A flag left out is False, an option left out None: neither may undo what stands before the command.
    if option.name is not None and value:
        setattr(made_for(ctx), option.name, value)


def common(command: C) -> C:
    """Give a command `--store`, `--namespace` and `--json`."""
    for option in (
        click.option(
            "--json", is_flag=True, expose_value=False, callback=_keep, help="Answers and errors as JSON."
        ),
        click.option(
            "--namespace",
            metavar="NAME",
            expose_value=False,
            callback=_keep,
            help="HOLDFAST_NAMESPACE, else holdfast.",
        ),
        click.option(
            "--store",
            metavar="URL",
            expose_value=False,
            callback=_keep,
            help="HOLDFAST_STORE where left out.",
        ),
    ):
        command = option(command)
    return command


def reaching(command: C) -> C:
    """Give a command `--site` and `--allow`: one that fetches, for a site."""
    for option in (
        click.option(
            "--allow",
            multiple=True,
            metavar="HOST:PORT",
            help="Let this be reached though it is no public address: a site in development; may be repeated.",
        ),
        click.option("--site", metavar="URL", help="Whose mentions these are; HOLDFAST_SITE where left out."),
    ):
        command = option(command)
    return command


class Values(click.Command):
    """A command whose last argument is a value: `-5` is a number there, and no option."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.ignore_unknown_options = True  # which would let a misspelt option through, hence:

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {name for each in self.get_params(ctx) for name in (*each.opts, *each.secondary_opts)}
        for arg in args[: args.index("--") if "--" in args else None]:
            name = arg.partition("=")[0]
            if arg[:1] == "-" and arg[1:] and not arg[1].isdigit() and name not in known:
                raise click.NoSuchOption(name, possibilities=get_close_matches(name, known), ctx=ctx)
        return super().parse_args(ctx, args)


UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def lifetime(ctx: click.Context, option: click.Parameter, text: str | None) -> timedelta | str | None:
    """Seconds, a number with a unit (`30m`, `12h`, `7d`), or `NEVER`; None where the option was left out."""
    if text is None:
        return None
    text = text.strip().lower()
    if text == NEVER:
        return NEVER
    number = text.rstrip("smhd")
    try:
        return timedelta(seconds=float(number) * UNITS[text[len(number) :] or "s"])
    except (KeyError, ValueError, OverflowError):
        words = f"{text!r} is neither seconds (60, 0.5, 30m, 12h, 7d) nor 'none'"
        raise click.BadParameter(words, ctx, option) from None

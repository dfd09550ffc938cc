"""The options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, ClassVar, Final, TypeVar

import click

__all__ = ["NEVER", "Choices", "Expires", "Values", "common", "made_for"]

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


class Expires(click.ParamType[timedelta | str]):
    """Seconds, a number with a unit (`30m`, `12h`, `7d`), or `none` for a value that never expires."""

    name = "seconds|none"
    UNITS: ClassVar = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta | str:
        text = str(value).strip().lower()
        if text == NEVER:
            return NEVER
        number = text.rstrip("smhd")
        try:
            seconds = float(number) * self.UNITS[text[len(number) :] or "s"]
            return timedelta(seconds=seconds)
        except (KeyError, ValueError, OverflowError):
            self.fail(f"{value!r} is neither seconds (60, 0.5, 30m, 12h, 7d) nor 'none'", param, ctx)

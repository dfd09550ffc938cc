"""The command line. A command's module is imported when that command runs, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from holdfast import __version__
from holdfast.cli import output
from holdfast.cli.group import Group
from holdfast.cli.options import Choices, common
from holdfast.cli.output import Failed, Output

__all__ = ["COMMANDS", "command"]

_M = "holdfast.cli"
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": (f"{_M}.server:serve", "Serve the store over HTTP, with a dashboard."),
    "get": (f"{_M}.values:get", "Print the value of a key."),
    "set": (f"{_M}.values:set_", "Store a value, whatever was there."),
    "create": (f"{_M}.values:create", "Store a value unless a live one exists."),
    "rm": (f"{_M}.keys:rm", "Remove keys."),
    "keys": (f"{_M}.keys:keys", "List the live keys, one a line."),
    "ttl": (f"{_M}.values:ttl", "Print how many seconds a value has left."),
    "export": (f"{_M}.transfer:export", "Write values, messages and mentions as lines of JSON."),
    "import": (f"{_M}.transfer:import_", "Store what an export holds."),
    "channels": (f"{_M}.channels:channels", "Follow, read and write the messages of rooms."),
    "webmention": (
        f"{_M}.webmention:webmention",
        "Send mentions to other sites, and moderate those that came.",
    ),
    "migrate": (f"{_M}.admin:migrate", "Make the store's tables, or bring them up to date."),
    "doctor": (f"{_M}.admin:doctor", "Say in words what the store promises as it is configured."),
    "token": (f"{_M}.admin:token", "Make the server's admin token, or a new one."),
}
"""Each command: where it is, and its line in `--help`, which must not cost its import."""

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in output.EXITS.items())


class Commands(Group):
    """The group: finds commands by the table, and ends every run with one line and one number."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(module), name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run and exit. Expected errors are one line; anything else is a traceback and code 70."""
        words = _arguments() if args is None else list(args)
        extra["standalone_mode"] = False
        out = Output(as_json="--json" in words[: words.index("--") if "--" in words else None])
        try:
            answer = super().main(words, *rest, **extra)
            sys.stdout.flush()
            code = answer if isinstance(answer, int) else output.OK
        except BrokenPipeError:
            code = output.PIPE_CLOSED
        except (Failed, click.ClickException, click.Abort, KeyboardInterrupt, OSError) as exc:
            code = _told(out, _failure(exc))
        except Exception:  # noqa: BLE001 - the interpreter would exit with 1, which means "no" here
            sys.excepthook(*sys.exc_info())
            code = output.BUG
        _let_go()
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # before click turns it into its own code
            return output.PIPE_CLOSED


def _arguments() -> list[str]:
    """The command line as UTF-8, which keys are, whatever the locale took it for."""
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]


def _told(out: Output, error: Failed) -> int:
    try:
        out.failed(error)
    except OSError:
        pass  # standard error is gone too; the code still says it
    return error.code


def _failure(exc: BaseException) -> Failed:
    """What ended the run, as its one line and code."""
    match exc:
        case Failed():
            return exc
        case click.ClickException():
            return _usage(exc)
        case OSError():  # not from a store: those are put into words where they are used
            return Failed(output.USAGE, f"output: {exc.strerror}", kind="Usage")
    return Failed(output.INTERRUPTED, "interrupted", kind="Interrupted")


def _usage(exc: click.ClickException) -> Failed:
    """Click's error as ours, with the way to the help."""
    message = exc.format_message().rstrip(".")
    ctx = getattr(exc, "ctx", None)
    if ctx is not None:
        message += f"; {ctx.command_path} --help says more"
    return Failed(output.USAGE, message[:1].lower() + message[1:], kind="Usage")


def _let_go() -> None:
    """What cannot be written any more goes nowhere, without a word of the interpreter at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"holdfast {__version__}")
        ctx.exit()


@click.group(
    "holdfast",
    cls=Commands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@common
@click.option(
    "--version",
    is_flag=True,
    help="Print the version.",
    expose_value=False,
    is_eager=True,
    callback=_print_version,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """What an async web app still knows after the request ends.

    The store is named by --store or HOLDFAST_STORE: sqlite:///app.db,
    redis://localhost, postgresql://user@host/app. Options that every command
    takes may stand before or after its name.
    """
    ctx.ensure_object(Choices)

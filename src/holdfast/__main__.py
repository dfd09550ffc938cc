"""The `holdfast` command, and `python -m holdfast`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line with this process's arguments and exit with its code."""
    try:
        _occupy()
        for needed in ("click", "rich"):
            if find_spec(needed) is None:
                sys.stderr.write(f'holdfast: {needed} is not installed; pip install "holdfast[cli]"\n')
                sys.exit(2)
        from holdfast.cli import command

        command.main(prog_name="holdfast")
    except KeyboardInterrupt:  # before the command line was there to say it better
        sys.exit(130)


def _occupy() -> None:
    """Put the null device where a standard stream was closed, lest a database file get its number and be written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # the lowest free number, which this is
            stream = open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)  # for as long as the process lives


if __name__ == "__main__":
    main()

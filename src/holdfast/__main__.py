"""The `holdfast` command, and `python -m holdfast`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line with this process's arguments and exit with its code."""
    try:
        for needed in ("click", "rich"):
            if find_spec(needed) is None:
                sys.stderr.write(f'holdfast: {needed} is not installed; pip install "holdfast[cli]"\n')
                sys.exit(2)
        from holdfast.cli import command

        command.main(prog_name="holdfast")
    except KeyboardInterrupt:  # before the command line was there to say it better
        sys.exit(130)


if __name__ == "__main__":
    main()

"""SQLite through the standard library: one writer thread, one read connection on the loop.

* **Writes** go to the thread as jobs. It takes whatever is queued, runs it in
  one transaction and commits; with `synchronous=FULL` the commit returns after
  the log is on disk, and only then is anybody told. Jobs that came meanwhile
  are the next transaction: one sync serves them all.
* **Reads** that touch a row or two run on the loop's own connection, which
  waits for no lock: where it would, the read goes to the thread instead.
* **Checkpoints** run on the thread between transactions, after the waiters of
  the last one were told, never inside a commit.

Several processes may use one file: a writer that finds it locked tries again
for `busy_timeout`. What they tell each other is in `notes`, and `polling`
notices it, and whatever else they commit.
"""

from __future__ import annotations

from holdfast.engines.sqlite.engine import SqliteEngine
from holdfast.engines.sqlite.failures import DiskFull

__all__ = ["DiskFull", "SqliteEngine"]

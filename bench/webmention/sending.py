"""One sender tells so many targets, in a process of its own: time, CPU, memory.

`python -m bench.webmention.sending holdfast --port 4711 --hosts 200 --targets 200` prints a `Sent`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.webmention.senders import SENDERS, Given, Send
from bench.webmention.site import addresses

__all__ = ["Sent"]

WARM = 8


class Sent(msgspec.Struct, frozen=True):
    """What one call took."""

    targets: int
    sent: int  # as the sender sees it
    seconds: float
    cpu: float  # of this process, all threads
    growth_mb: float  # of the resident set, at its highest

    @property
    def cpu_ms(self) -> float:
        """A target."""
        return self.cpu / self.targets * 1e3


async def measure(name: str, port: int, hosts: int, targets: int, directory: Path) -> Sent:
    where = [f"{address}:{port}" for address in addresses(hosts)]
    async with SENDERS[name](Given(directory, where)) as send:
        await _tell(send, "http://blog.example/warm", [f"http://{host}/warm" for host in where[:WARM]])
        urls = [f"http://{where[at % hosts]}/post/{at}" for at in range(targets)]
        gc.collect()
        before = _reset_peak()
        began, cpu = time.perf_counter(), time.process_time()
        sent = await _tell(send, "http://blog.example/source", urls)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return Sent(targets, sent, seconds, cpu, (_status("VmHWM") - before) / 1024)


async def _tell(send: Send, source: str, urls: Sequence[str]) -> int:
    links = "\n".join(f'<p><a href="{url}">somebody</a></p>' for url in urls)
    html = f'<div class="h-entry"><div class="e-content">{links}</div></div>'
    if inspect.iscoroutinefunction(send):
        return int(await send(source, html, urls))
    return int(send(source, html, urls))


def _reset_peak() -> int:
    """Where the resident set is now, which is its highest from now on, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SENDERS)
    for option in ("--port", "--hosts", "--targets"):
        parser.add_argument(option, type=int, required=True)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        sent = asyncio.run(
            measure(options.name, options.port, options.hosts, options.targets, Path(directory))
        )
    sys.stdout.write(msgspec.json.encode(sent).decode())


if __name__ == "__main__":
    main()

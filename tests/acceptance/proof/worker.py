"""A process of its own that uses a store and tells what was acknowledged, line by line.

    python worker.py flow URL NAMESPACE TASKS
    python worker.py create|count|load|lock URL NAMESPACE COUNT

A line is written by one `write` system call after the store's answer, never
before: what a killed worker has said was acknowledged.
"""

import asyncio
import os
import random
import sys
import time

from holdfast.errors import DuplicateKey
from holdfast.persist import Persist


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def flow(persist: Persist, tasks: int) -> None:
    """Set and count, in many tasks, until killed."""

    async def work(task: int) -> None:
        number = 0
        while True:
            await persist.set(f"value:{task}:{number}", {"task": task, "number": number, "text": "x" * 100})
            say("set", task, number)
            say("count", task, await persist.increment(f"count:{task}"))
            number += 1

    await asyncio.gather(*(work(task) for task in range(tasks)))


async def lone(persist: Persist, count: int) -> None:
    """One write after another, each said when it is acknowledged."""
    for number in range(count):
        await persist.set(f"lone:{number}", number)
        say("ack", number)


async def create(persist: Persist, count: int) -> None:
    async def attempt(number: int) -> None:
        try:
            await persist.create(f"prize:{number}", os.getpid())
        except DuplicateKey:
            return
        say("won", number)

    numbers = list(range(count))
    random.shuffle(numbers)
    for start in range(0, count, 20):
        await asyncio.gather(*map(attempt, numbers[start : start + 20]))


async def count(persist: Persist, count: int) -> None:
    for _ in range(count // 10):
        await asyncio.gather(*(persist.increment("hits") for _ in range(10)))
        say("counted", 10)


async def load(persist: Persist, count: int) -> None:
    async def one(number: int) -> None:
        async def loader() -> int:
            say("loading", number)
            await asyncio.sleep(0.05)
            return os.getpid()

        say("loaded", number, await persist.get_or_create(f"report:{number}", int, loader))

    await asyncio.gather(*(one(number) for number in range(count)))


async def lock(persist: Persist, count: int) -> None:
    for _ in range(count):
        async with persist.lock("job", expires=5) as fence:
            entered = time.monotonic_ns()  # one clock for all processes of a machine
            await asyncio.sleep(0.002)
            say("held", fence, entered, time.monotonic_ns())


async def main() -> None:
    what, url, namespace, number = sys.argv[1:]
    async with Persist(url, namespace=namespace) as persist:
        say("ready")
        sys.stdin.readline()  # the starting gun
        work = {"flow": flow, "lone": lone, "create": create, "count": count, "load": load, "lock": lock}
        await work[what](persist, int(number))
        say("done")


asyncio.run(main())

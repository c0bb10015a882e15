"""Tests of gateway.store.embedded: a cluster of their own, made once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import DatabaseUnavailable
from gateway.store import embedded
from gateway.store.embedded import EmbeddedServer, packaged_bin_dir

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a stopped cluster. Every test leaves it stopped."""
    folder = tmp_path_factory.mktemp("own")
    server = EmbeddedServer(folder)
    server.start()
    server.stop()
    yield folder
    shutil.rmtree(folder)


def _sql(server: EmbeddedServer, statement: str, name: str = "kks") -> str:
    command = [
        str(server.bin_dir / "psql"),
        "-h",
        str(server.socket_dir),
        "-U",
        "postgres",
        "-d",
        name,
        "-Atqc",
        statement,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - our own server


def test_started_twice_it_is_one_server(cluster: Path) -> None:
    """Starting again changes nothing; it is durable, checks its pages, and listens on its socket only."""
    server = EmbeddedServer(cluster)
    server.start()
    pid = server.postmaster_pid()
    server.start()
    assert pid == server.postmaster_pid()
    shown = [
        _sql(server, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "data_checksums", "listen_addresses")
    ]
    assert ["on", "on", "on", ""] == shown
    server.stop()
    assert not server.is_running()
    server.stop()


def test_the_last_user_stops_the_server(cluster: Path) -> None:
    """While another uses it, the server runs on; the next start finds what was written."""
    first, second = EmbeddedServer(cluster), EmbeddedServer(cluster)
    first.start()
    second.start()
    _sql(first, "CREATE TABLE seen AS SELECT 1 AS n")
    first.stop()
    assert second.is_running()
    assert "1" == _sql(second, "SELECT n FROM seen")
    first.start()
    second.stop()
    assert first.is_running()
    first.stop()
    assert not first.is_running()
    first.start()
    assert "1" == _sql(first, "SELECT n FROM seen")
    _sql(first, "DROP TABLE seen")
    first.stop()


def test_a_killed_server_is_started_again(cluster: Path) -> None:
    """After SIGKILL of the postmaster the next start recovers what was committed."""
    server = EmbeddedServer(cluster)
    server.start()
    _sql(server, "CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS n")
    pid = server.postmaster_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    after = EmbeddedServer(cluster)
    after.start()
    assert pid != after.postmaster_pid()
    assert "7" == _sql(after, "SELECT n FROM kept")
    server.stop()
    assert after.is_running()
    after.stop()
    assert not after.is_running()


def test_the_database_is_emptied(cluster: Path) -> None:
    """A new kks has nothing of the old one; while someone is connected it is refused in one line and kept."""
    server = EmbeddedServer(cluster)
    server.start()
    _sql(server, "CREATE TABLE old AS SELECT 1 AS n")
    command = [str(server.bin_dir / "psql"), "-h", str(server.socket_dir), "-U", "postgres", "-d", "kks", "-Atq"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest:  # noqa: S603 - our own
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("SELECT 'here';\n")
        guest.stdin.flush()
        assert "here" == guest.stdout.readline().strip()
        with pytest.raises(DatabaseUnavailable, match=r"^embedded PostgreSQL: psql failed: .*session") as refused:
            server.reset_database()
        assert "\n" not in str(refused.value)
        guest.stdin.close()
        guest.wait()
    assert "1" == _sql(server, "SELECT n FROM old")
    server.reset_database()
    assert "0" == _sql(server, "SELECT count(*) FROM pg_tables WHERE tablename = 'old'")
    server.stop()


def test_what_cannot_work_is_one_line(tmp_path: Path) -> None:
    """No programs there, or a folder that is a file."""
    with pytest.raises(DatabaseUnavailable, match=r"^no PostgreSQL program .*initdb$"):
        EmbeddedServer(tmp_path / "pg", tmp_path).start()
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match=r"^cannot use the data folder .*file"):
        EmbeddedServer(tmp_path / "file").start()


def test_a_deep_folder_gets_a_short_socket(tmp_path: Path) -> None:
    """A Unix socket's address is short: a deep data folder has its socket elsewhere, always the same, never another's."""
    near = EmbeddedServer(Path("/srv/kks"))
    assert Path("/srv/kks/socket") == near.socket_dir
    long = tmp_path / ("d" * 100)
    assert len(str(EmbeddedServer(long).socket_dir)) < embedded.SOCKET_PATH_MAX
    assert EmbeddedServer(long).socket_dir == EmbeddedServer(long).socket_dir
    assert EmbeddedServer(long).socket_dir != EmbeddedServer(tmp_path / ("e" * 100)).socket_dir
    assert str(EmbeddedServer(long).socket_dir) in EmbeddedServer(long).url
    for depth in range(60, 110):  # whatever is beside still has room for PostgreSQL's own name
        folder = Path("/" + "d" * depth)
        assert len(str(EmbeddedServer(folder).socket_dir / ".s.PGSQL.5432")) <= 107


def test_the_packaged_programs_are_there() -> None:
    """The wheel brings what is called."""
    assert {"initdb", "pg_ctl", "postgres", "psql"} <= {path.name for path in packaged_bin_dir().iterdir()}

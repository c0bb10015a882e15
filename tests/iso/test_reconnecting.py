"""A connection that is made again, and the waits between."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.client import LinkClient
from iso.errors import LinkClosed, LinkFailed, LinkTimeout
from iso.reconnecting import Backoff, ReconnectingClient
from tests.iso.hosts import LOOPBACK, PATIENT_S, QUICK_S, Host, approve, frame, hosted, request_of

QUICK = Backoff(first_s=0.01, most_s=0.05)


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        port: int = one.getsockname()[1]
    return port


def kept(port: int, backoff: Backoff = QUICK, *, sign_on: bool = False) -> ReconnectingClient:
    """A reconnecting client of the host at that port."""
    client = LinkClient(LOOPBACK, port, timeout_s=PATIENT_S, sign_on=sign_on, clock=lambda: datetime.now(UTC))
    return ReconnectingClient(client, backoff)


async def test_a_lost_connection_is_made_again() -> None:
    """What was in flight fails; what is asked after the reconnection is answered."""
    async with hosted() as host, kept(host.port) as link:
        await link.ready(PATIENT_S)
        host.script = lambda _: None
        with pytest.raises(LinkFailed):
            await link.request(request_of(1))
        host.script = lambda request: frame(approve(request))
        await link.ready(PATIENT_S)
        assert await link.request(request_of(2)) == approve(request_of(2))
        assert (link.connected, link.attempts, link.failure) == (True, 2, None)


async def test_a_host_that_comes_late_is_found() -> None:
    """Nobody listens at first: the failures are told, and the first host that is there is taken."""
    port = free_port()
    async with kept(port) as link:
        with pytest.raises(LinkTimeout, match=r"^not connected within 0\.2 s: no connection: "):
            await link.ready(QUICK_S)
        with pytest.raises(LinkClosed, match=r"^not connected$"):
            await link.request(request_of(1))
        async with hosted(port=port):
            await link.ready(PATIENT_S)
            assert await link.request(request_of(2)) == approve(request_of(2))
            assert link.attempts > 2


async def test_a_refused_sign_on_is_tried_again() -> None:
    """The connection counts as made only when the host has taken the sign-on."""
    refusals = iter(["91", "91"])
    async with hosted() as host:
        host.script = lambda request: frame(approve(request, de39=next(refusals, "00")))
        async with kept(host.port, sign_on=True) as link:
            await link.ready(PATIENT_S)
            assert (link.attempts, len(host.received)) == (3, 3)


async def test_a_host_that_drops_every_connection_is_not_called_without_a_pause() -> None:
    """Connections that last no time count as failures: the waits grow."""
    host = Host()
    host.greeting = lambda: None
    async with hosted(host), kept(host.port, Backoff(first_s=0.05, most_s=10, jitter=0)) as link:
        await asyncio.sleep(0.5)
        assert 2 <= link.attempts <= 4  # after 0.05, 0.15, 0.35 and 0.75 s
        assert link.failure == "the other side closed the connection"


async def test_closing_stops_it() -> None:
    """Nobody calls any more, whether it was connected or between two attempts; closing twice is allowed."""
    async with hosted() as host:
        link = kept(host.port)
        await link.close()
        link.start()
        link.start()
        await link.ready(PATIENT_S)
        waiting = asyncio.create_task(link.request(request_of(1)))
        host.script = lambda _: b""
        await host.heard.wait()
        await link.close()
        await link.close()
        with pytest.raises(LinkClosed) as caught:
            await waiting
        assert (type(caught.value), link.connected, link.failure, link.attempts) == (LinkClosed, False, None, 1)
    lonely = kept(free_port(), Backoff(first_s=60, most_s=60))
    lonely.start()
    with pytest.raises(LinkTimeout, match="no connection: "):
        await lonely.ready(QUICK_S)
    await lonely.close()
    assert (1, None) == (lonely.attempts, lonely.failure)


async def test_closing_the_client_itself_is_no_loss() -> None:
    """It was wanted: nobody connects again until started anew."""
    async with hosted() as host, kept(host.port) as link:
        await link.ready(PATIENT_S)
        await link.client.close()
        await asyncio.sleep(0.1)
        assert (link.connected, link.attempts, link.failure) == (False, 1, None)
        link.start()
        await link.ready(PATIENT_S)
        assert await link.request(request_of(1)) == approve(request_of(1))


@given(
    first_s=st.floats(0.001, 100), factor=st.floats(1, 1_000), jitter=st.floats(0, 0.99), failures=st.integers(1, 10**9)
)
def test_waits_stay_in_their_bounds(first_s: float, factor: float, jitter: float, failures: int) -> None:
    """Never above the most, never below what chance may leave of the first, however long it goes on."""
    backoff = Backoff(first_s, first_s * factor, jitter)
    assert first_s * (1 - jitter) * 0.999 <= backoff.wait_s(failures) <= backoff.most_s


def test_waits_double_up_to_the_most() -> None:
    """Half a second, one, two, four, and then five for ever."""
    backoff = Backoff(first_s=0.5, most_s=5, jitter=0)
    assert [0.5, 1, 2, 4, 5, 5] == [backoff.wait_s(failures) for failures in range(1, 7)]


def test_waits_differ() -> None:
    """Many that lost a host together do not come back together."""
    waits = {Backoff(first_s=8, most_s=8, jitter=0.5).wait_s(1) for _ in range(100)}
    assert (len(waits) > 20, min(waits) >= 4, max(waits) <= 8) == (True, True, True)


@pytest.mark.parametrize(
    "wrong", [{"first_s": 0.0}, {"first_s": 2.0, "most_s": 1.0}, {"jitter": 1.0}, {"jitter": -0.1}]
)
def test_a_backoff_without_waits_is_refused(wrong: dict[str, float]) -> None:
    """A host would be called without a pause."""
    with pytest.raises(ValueError, match=r"^a back-off has 0 < first_s <= most_s and 0 <= jitter < 1$"):
        Backoff(**wrong)

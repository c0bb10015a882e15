"""Tests of gateway.terminals.profile: a profile that contradicts itself is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.terminals.links_file import read_links
from gateway.terminals.profile import Link

SHIPPED = read_links(None).first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"role": "connect"}, "needs host and port"),
        ({"more_hosts": ["10.0.0.2:8583"]}, "more_hosts, connections and spread are of a link that calls"),
        ({"connections": 2}, "more_hosts, connections and spread are of a link that calls"),
        ({"spread": "first"}, "more_hosts, connections and spread are of a link that calls"),
        *(
            ({"role": "connect", "host": "10.0.0.1", "port": 8583} | changes, words)
            for changes, words in (
                ({"more_hosts": ["10.0.0.2"]}, "more_hosts: a host is written like"),
                ({"more_hosts": ["10.0.0.2:0"]}, "more_hosts: a host is written like"),
                ({"more_hosts": ["10.0.0.2:65536"]}, "more_hosts: a host is written like"),
                ({"more_hosts": ["2001:db8::2:8583"]}, "more_hosts: a host is written like"),
                ({"more_hosts": ["10.0.0.1:8583"]}, "10.0.0.1:8583 is named twice"),
                ({"more_hosts": ["10.0.0.2:8583", "10.0.0.2:08583"]}, "10.0.0.2:8583 is named twice"),
                ({"connections": 0}, "connections"),
                ({"spread": "hash"}, "spread"),
            )
        ),
        ({"mac": "required"}, "needs mac_key"),
        ({"pin_format": 4}, "needs a pin_block_field other than 52"),
        ({"chip_profile": "unknown"}, "there is no chip_profile unknown"),
        ({"chip_profile": ["nsiccs", "unknown"]}, "there is no chip_profile unknown"),
        ({"chip_profile": []}, "at least 1 item"),
        ({"chip_scripts": ["block"]}, "chip_scripts are nothing without chip data"),
        ({"chip": "optional", "chip_scripts": ["unblock"]}, "chip_scripts"),
        ({"header": "tpdu"}, "do not go together"),
        ({"in_flight_resume": 2_000}, "in_flight_resume must be below"),
        ({"reconnect_s": 60.0, "reconnect_most_s": 1.0}, "reconnect_most_s"),
        ({"cash_places": {"60": "ATM"}}, "DE18 is 4 digits"),
        ({"purses": {"1": "CASH"}}, "an account type is 2 digits"),
        ({"account_types": {"CASH": "1", "FOOD": "98"}}, "an account type is 2 digits"),
        ({"account_types": {"CASH": "10"}}, "no account type for FOOD"),
        *(
            ({"stand_in": {"most_idr": 1, "most_card_idr": 1}} | changes, "stand_in needs chip and stripe_value off")
            for changes in (
                {"chip": "optional"},
                {"stripe_value": "required"},
                {"pin_scheme": "dukpt"},
                {"pin_format": 3},
            )
        ),
        ({"stand_in": {"most_idr": 0, "most_card_idr": 1}}, "most_idr"),
        ({"tls": {"certificate": "a", "key": "b", "peer_names": ["c"]}}, "without an authority"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, object], words: str) -> None:
    """The fault is named in words."""
    with pytest.raises(ValidationError, match=words):
        Link.model_validate(SHIPPED.model_dump(exclude_defaults=True) | changes)


def test_a_link_that_connects() -> None:
    """With host and port it is whole."""
    link = Link.model_validate(
        SHIPPED.model_dump(exclude_defaults=True) | {"role": "connect", "host": "127.0.0.1", "port": 9000}
    )
    assert ("connect", "127.0.0.1", 9000) == (link.role, link.host, link.port)
    assert ("127.0.0.1:9000",) == tuple(str(one) for one in link.hosts)


def test_more_hosts_of_a_partner() -> None:
    """In their order, after the first; a change of any opens the link anew."""
    calls = {"role": "connect", "host": "10.0.0.1", "port": 8583}
    plain = Link.model_validate(SHIPPED.model_dump(exclude_defaults=True) | calls)
    for changes in (
        {"more_hosts": ["[2001:db8::2]:8583", "switch.example:1"]},
        {"connections": 2},
        {"spread": "first"},
    ):
        assert not plain.same_wire(Link.model_validate(SHIPPED.model_dump(exclude_defaults=True) | calls | changes))
    more = Link.model_validate(
        SHIPPED.model_dump(exclude_defaults=True) | calls | {"more_hosts": ["[2001:db8::2]:8583", "switch.example:1"]}
    )
    assert [("10.0.0.1", 8583), ("2001:db8::2", 8583), ("switch.example", 1)] == list(more.hosts)
    assert ["10.0.0.1:8583", "[2001:db8::2]:8583", "switch.example:1"] == [str(one) for one in more.hosts]

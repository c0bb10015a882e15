"""What can go wrong on the simulator's own side, each with one line for the person who started it.

A declined transaction is no error: it is an Exchange with its response code. Read next: exchange.py.
"""

from __future__ import annotations

from iso.errors import LinkError


class SimulatorError(Exception):
    """Root of all errors of the simulator."""


class WalletError(SimulatorError):
    """The wallet file cannot be read, or does not hold what the terminals need."""


class CaseError(SimulatorError):
    """A scripted case is written wrongly: found before anything is sent."""


class JournalError(SimulatorError):
    """A terminal journal is damaged."""


class LoadError(SimulatorError):
    """Load could not be started: no connection, no sign-on, or too few cards."""


class RuleError(SimulatorError):
    """The rules of a switch host are written wrongly: found before it listens."""


class ProfileError(SimulatorError):
    """The profile of a simulated terminal is written wrongly, or wants what the test keys do not have."""


class CaptureError(SimulatorError):
    """A captured file cannot be read, or cannot be sent again."""


class WrongMac(SimulatorError, LinkError):
    """An answer came without the MAC that the link's profile asks for, or with a wrong one."""


class WrongArpc(SimulatorError, LinkError):
    """An answer does not prove to the card's chip that it is its issuer's: tag 91 of DE55 is missing, or wrong."""

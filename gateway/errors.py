"""The failures a user of the gateway may meet: each carries one clear line saying what is wrong and where.

Declines of an authorisation are values (gateway.rules.authorise), not exceptions. Anything that is not one of these is a bug
or an outage and keeps its traceback.
"""

from __future__ import annotations


class GatewayError(Exception):
    """A refusal or failure with one line for the person who asked."""


class Refused(GatewayError):
    """The command is understood and not allowed: wrong state, same person twice, already done."""


class NotFound(Refused):
    """What the command names does not exist."""


class SettingsError(GatewayError):
    """A setting is missing or wrong."""


class DatabaseUnavailable(GatewayError):
    """PostgreSQL cannot be reached, started or migrated."""

"""ISO 8583 on the wire: dialects as data, codec, framing, masked description, field contents, link client.

Knows messages, not banks: what an answer should say is decided elsewhere. Imports the standard library only;
pyiso8583 is the oracle that the tests and the measurements compare us with. Start with dialect.py, then codec.py.
"""

"""Pure decisions of the bank. A rule sees no clock, no randomness, no database and no file."""

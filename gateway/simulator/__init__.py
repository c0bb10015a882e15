"""A stranger to the bank: terminals, switches and invented lists. It imports nothing of the bank, so it cannot cheat."""

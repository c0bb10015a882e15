"""Money: chart of accounts, pure posting rules, the book in PostgreSQL, and the proof. Knows no bank, card or message."""

"""Readers and writers of lists and results. Knows formats, not decisions: gateway.rules judges what is read here."""

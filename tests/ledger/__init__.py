"""Twins of ledger."""

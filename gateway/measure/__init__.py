"""Measurements side by side on one machine: authorise against pgbench, lists against COPY, and chaos against the ledger."""

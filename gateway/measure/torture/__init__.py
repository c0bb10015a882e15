"""The ledger's torture: random days of a small bank on a real PostgreSQL, with crashes, beside a model in plain Python.

Everything is decided by one seed. After every step the bank's books must be what the model says they are, to the rupiah and to
the tranche; whatever was answered must be explained by some order of what was asked. Read in this order: oracle.py (what
families, terminals and the treasury know), order.py (which order explains the answers), invariants.py (what must hold),
steps.py and its neighbours (what can happen), run.py (the run).
"""

"""Custody and use of payment keys: the rest of the bank holds handles, never keys.

Refuses to know customers, accounts and messages. Read next: hsm.py (what can be asked of an HSM), software.py (the one
without hardware), vault.py (sealing of PAN and NIK).
"""

"""Custody and use of payment keys: the rest of the bank holds handles, never keys.

What stands where, from the outside in:

    the facade            hsm (what can be asked), keytypes, permissions (which key may do what), usages (what a key looks like)
    back ends             backend (found by name, one module each)
    local back ends       local = lifecycle + pin_commands + card_commands + data_commands (+ dukpt_commands) over toolbox;
                          the seam below is workshop: software, and token_workshop in pkcs11 (token, token_objects)
    how keys are kept     keystore (stored_header) over envelope (master, or a token) and keyfile; rotation, master_ceremony,
                          keystore_format_1
    PINs                  pinblock, pin (IBM 3624, weak PINs), pvv
    cards                 cvv; emv, emv_profile (+ emv_profiles.toml), emv_script
    key blocks            tr31, tr31_header, key_blocks (header and specification), keywrap
    terminals             ksn, dukpt_tdes, dukpt_aes
    codes and signatures  mac, kcv, signing, rsa_keys
    ciphers               tdes, aes
    values and data       sensitive (types that show themselves masked), luhn, vault (sealing of PAN and NIK), errors, selftest

Everything from PINs to ciphers is pure functions over bytes, but for the memory of KSN. Refuses to know customers, accounts and
messages. Read next: hsm.py.
"""

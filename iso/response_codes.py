"""What a response code (DE39) says, in English and in Indonesian.

The codes that Indonesian networks use, with the meanings of ISO 8583:1987. Which of our own reasons becomes which code is
each link's own map, not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

APPROVED = "00"
PARTIALLY_APPROVED = "10"
INVALID_TRANSACTION = "12"
INVALID_AMOUNT = "13"
FORMAT_ERROR = "30"
NOT_PERMITTED = "57"
TERMINAL_NOT_PERMITTED = "58"
KEY_ERROR = "81"
INOPERATIVE = "91"
MALFUNCTION = "96"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One code's meaning for an operator."""

    english: str
    indonesian: str


MEANINGS = MappingProxyType(
    {
        APPROVED: Meaning("approved", "disetujui"),
        "03": Meaning("invalid merchant", "merchant tidak sah"),
        "05": Meaning("do not honour", "tidak disetujui"),
        PARTIALLY_APPROVED: Meaning("approved for a part of the amount", "disetujui sebagian"),
        INVALID_TRANSACTION: Meaning("invalid transaction", "transaksi tidak sah"),
        INVALID_AMOUNT: Meaning("invalid amount", "nominal tidak sah"),
        "14": Meaning("invalid card number", "nomor kartu tidak sah"),
        "24": Meaning("file action not supported", "perubahan berkas tidak didukung"),
        "25": Meaning("record not found", "data tidak ditemukan"),
        "26": Meaning("duplicate record, old one replaced", "data ganda, data lama diganti"),
        "27": Meaning("file action, field error", "perubahan berkas, isian salah"),
        "28": Meaning("file locked out", "berkas sedang terkunci"),
        "29": Meaning("file action not successful", "perubahan berkas gagal"),
        FORMAT_ERROR: Meaning("format error", "format pesan salah"),
        "31": Meaning("bank not supported", "bank tidak didukung"),
        "33": Meaning("expired card, capture", "kartu kedaluwarsa, tahan kartu"),
        "36": Meaning("restricted card, capture", "kartu dibatasi, tahan kartu"),
        "38": Meaning("PIN tries exceeded, capture", "batas salah PIN terlampaui, tahan kartu"),
        "39": Meaning("no credit account", "tidak ada rekening kredit"),
        "40": Meaning("function not supported", "fungsi tidak didukung"),
        "41": Meaning("lost card", "kartu hilang"),
        "43": Meaning("stolen card", "kartu dicuri"),
        "51": Meaning("insufficient funds", "saldo tidak cukup"),
        "52": Meaning("no current account", "tidak ada rekening giro"),
        "53": Meaning("no savings account", "tidak ada rekening tabungan"),
        "54": Meaning("expired card", "kartu kedaluwarsa"),
        "55": Meaning("wrong PIN", "PIN salah"),
        NOT_PERMITTED: Meaning("not permitted to cardholder", "transaksi tidak diizinkan untuk kartu ini"),
        TERMINAL_NOT_PERMITTED: Meaning("not permitted to terminal", "transaksi tidak diizinkan untuk terminal ini"),
        "61": Meaning("over amount limit", "melebihi batas nominal"),
        "62": Meaning("restricted card", "kartu dibatasi"),
        "63": Meaning("security violation", "pelanggaran keamanan"),
        "65": Meaning("over count limit", "melebihi batas jumlah transaksi"),
        "68": Meaning("response received too late", "jawaban terlambat"),
        "75": Meaning("PIN tries exceeded", "batas salah PIN terlampaui"),
        "76": Meaning("invalid account, to", "rekening tujuan tidak sah"),
        "77": Meaning("invalid account, from", "rekening asal tidak sah"),
        "78": Meaning("invalid account", "rekening tidak sah"),
        KEY_ERROR: Meaning("key error", "kesalahan kunci"),
        "86": Meaning("cannot verify PIN", "PIN tidak dapat diverifikasi"),
        "87": Meaning("PIN key error", "kesalahan kunci PIN"),
        "88": Meaning("already paid", "tagihan sudah dibayar"),
        "89": Meaning("link down", "jalur terputus"),
        "90": Meaning("cut-off in progress", "sedang proses tutup hari"),
        INOPERATIVE: Meaning("issuer or switch inoperative", "penerbit atau switch tidak dapat dihubungi"),
        "92": Meaning("no route", "rute tidak ditemukan"),
        "94": Meaning("duplicate transmission", "transmisi ganda"),
        "95": Meaning("reconcile error", "rekonsiliasi tidak cocok"),
        MALFUNCTION: Meaning("system malfunction", "gangguan sistem"),
    }
)
"""Code -> meaning."""

_UNKNOWN = Meaning("unknown response code", "kode respons tidak dikenal")


def meaning(code: str) -> Meaning:
    """What `code` says; a code that is not in the table says that it is unknown."""
    return MEANINGS.get(code, _UNKNOWN)

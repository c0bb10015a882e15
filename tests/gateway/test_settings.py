"""Tests of gateway.settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import SettingsError
from gateway.settings import Settings, describe_settings, load_settings

SECRET = "hunter2-zq"


def test_the_defaults_start_a_bank() -> None:
    """Without any setting the embedded database in ./var, ports 8583 and 8080 and the invented BIN are used."""
    settings = load_settings()
    assert (None, Path("var"), 8583, 8080) == (
        settings.database_url, settings.data_dir, settings.iso_port, settings.http_port
    )  # fmt: skip
    assert ("BRI", "601301", 3, 17) == (settings.bank, settings.card_bin, settings.pin_tries, settings.min_age)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments win over the environment, the environment over kks.toml; an empty variable counts as not set."""
    (tmp_path / "kks.toml").write_text('bank = "BNI"\nlanes = 3\npin_tries = 5\nmin_age = 21\n')
    monkeypatch.setenv("KKS_LANES", "4")
    monkeypatch.setenv("KKS_PIN_TRIES", "6")
    monkeypatch.setenv("KKS_MIN_AGE", "")
    settings = load_settings(pin_tries=7)
    assert ("BNI", 4, 7, 21) == (settings.bank, settings.lanes, settings.pin_tries, settings.min_age)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "http"), ("HTTP_PORT", "65536"), ("ISO_PORT", "-1"), ("BANK", "BCA"), ("CARD_BIN", "60130"),
        ("CARD_BIN", "60130a"), ("CARD_VALID_YEARS", "0"), ("PIN_TRIES", "10"), ("MIN_AGE", "x"), ("LANES", "17"),
        ("GROUP_MAX", "0"), ("QUEUE_MAX", "1.5"), ("POOL_SIZE", "1"), ("LOG_LEVEL", "loud"),
        ("TRANSACTION_LOG", "some"), ("SLOW_MS", "-1"), ("SLOW_MS", "soon"),
        ("DATABASE_URL", "somewhere"), ("DATABASE_URL", "sqlite:///kks.db"), ("DATABASE_URL", "mysql://host/kks"),
        ("DATABASE_URL", f"postgresql://u:{SECRET}@host:port/kks"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The line names the variable and says what is wrong, without the password that may be in it."""
    monkeypatch.setenv(f"KKS_{name}", value)
    with pytest.raises(SettingsError, match=f"^setting KKS_{name}: ") as refused:
        load_settings()
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"bank = ", r"^kks\.toml: "),
        (b"\xff = 1", r"^kks\.toml: "),
        (b"colour = 'red'", r"^setting KKS_COLOUR: Extra inputs are not permitted$"),
        (b"lanes = 'two'", r"^setting KKS_LANES: "),
        (rb'data_dir = "var\u0000"', r"^setting KKS_DATA_DIR: Value error, has a zero byte$"),
        (rb'master_key_file = "\u0000"', r"^setting KKS_MASTER_KEY_FILE: Value error, has a zero byte$"),
        (b'key_options = { pin_file = "a\\u0000" }', r"^setting KKS_KEY_OPTIONS: Value error, has a zero byte$"),
        (b'key_options = { "a\\u0000" = "b" }', r"^setting KKS_KEY_OPTIONS: Value error, has a zero byte$"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    """A kks.toml that is not TOML, or has a setting that does not exist or is wrong."""
    (tmp_path / "kks.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=message) as refused:
        load_settings()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [f"postgresql://kks:{SECRET}@db.example/kks", f"postgresql+asyncpg://db.example/kks?user=kks&password={SECRET}"],
)
def test_a_password_is_never_shown(url: str) -> None:
    """The description of settings has every setting with its meaning, and the address without its password."""
    rows = describe_settings(load_settings(database_url=url))
    assert [f"KKS_{name.upper()}" for name in Settings.model_fields] == [name for name, _, _ in rows]
    assert all(meaning for _, _, meaning in rows)
    assert SECRET not in str(rows)
    assert "db.example/kks" in rows[0][1]


def test_a_pin_among_the_options_is_never_shown() -> None:
    """An option that the back end has not, or a number where the PIN's file is named; the others are shown."""
    options = {"pin": "987654", "module": "/lib/p.so", "token": "42", "pin_file": "/secret/31415926"}
    shown = {
        backend: {name: value for name, value, _ in describe_settings(settings)}["KKS_KEY_OPTIONS"]
        for backend in ("pkcs11", "software", "none")
        for settings in [load_settings(key_backend=backend, key_options=options)]
    }
    assert str(options | {"pin": "***", "pin_file": "***"}) == shown["pkcs11"]
    assert str(dict.fromkeys(options, "***")) == shown["software"] == shown["none"]
    named = load_settings(key_backend="pkcs11", key_options={"pin_file": "/secret/pin"})
    assert "/secret/pin" in str(describe_settings(named))


def test_settings_do_not_change() -> None:
    """They are read once at start."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().lanes = 3

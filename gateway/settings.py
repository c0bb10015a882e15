"""Settings: environment variables KKS_* or a kks.toml in the working folder, validated once at start.

Each setting has a meaning (its description), printed by `kks settings`. Rules that change over time (amounts, clocks, purse
rules) are not settings: they are effective-dated data in the database, see gateway.store.policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gateway.errors import SettingsError
from keys import backend as backends
from keys.errors import KeysError


class Settings(BaseSettings):
    """Every setting of the gateway. Environment wins over kks.toml, kks.toml over the default."""

    model_config = SettingsConfigDict(
        env_prefix="KKS_",
        env_nested_delimiter="__",
        toml_file="kks.toml",
        extra="forbid",
        env_ignore_empty=True,
        frozen=True,
    )

    database_url: str | None = Field(
        None, description="PostgreSQL 15 or newer, as postgresql://user:password@host/name; empty: the embedded server"
    )
    data_dir: Path = Field(Path("var"), description="folder of the embedded database, keys and demo files")
    pg_bin: Path | None = Field(None, description="server programs for the embedded database; empty: the packaged ones")
    host: str = Field("127.0.0.1", description="address the service listens on")
    http_port: int = Field(8080, description="port of the HTTP API", ge=0, le=65535)
    iso_port: int = Field(
        8583,
        description="port of the first ISO 8583 link; others: port or port_offset of their profile",
        ge=0,
        le=65535,
    )
    links_file: Path | None = Field(
        None, description="TOML file of partner links; empty: the shipped links himbara and edc"
    )
    policy_file: Path | None = Field(
        None, description="TOML file of first programmes, amounts, purse rules and clocks; empty: the shipped one"
    )
    bank: Literal["BRI", "MANDIRI", "BNI", "BTN", "BSI"] = Field("BRI", description="which bank: account number length")
    card_bin: str = Field("601301", pattern=r"^\d{6}$", description="first six digits of every card issued")
    card_valid_years: int = Field(5, ge=1, le=20, description="years until a card expires")
    pin_tries: int = Field(3, ge=1, le=9, description="wrong PINs in a row that lock a card")
    min_age: int = Field(17, ge=0, le=99, description="youngest age of a card holder, in years")
    lanes: int = Field(2, ge=1, le=16, description="writers of authorisations; the same in every process of one bank")
    group_max: int = Field(128, ge=1, le=1000, description="most authorisations in one database transaction")
    queue_max: int = Field(2000, ge=1, le=100_000, description="authorisations waiting before new ones are answered 91")
    pool_size: int = Field(8, ge=2, le=100, description="database connections of one process, lanes not counted")
    master_key_file: Path | None = Field(
        None,
        description="file (mode 0600) of the master key that seals the keystore; empty: keys/master.key in data_dir",
    )
    master_passphrase_file: Path | None = Field(
        None, description="file (mode 0600) of a passphrase from which the master key is derived, instead of a key file"
    )
    key_backend: str = Field(
        "software",
        description="where keys are used: software (in this process) or pkcs11 (a token): docs/keys/backends.md",
    )
    key_options: dict[str, str] = Field(
        default_factory=dict,
        description="options of the key back end; of pkcs11: KKS_KEY_OPTIONS__MODULE, __TOKEN and __PIN_FILE",
    )
    retention_years: int = Field(
        10, ge=10, le=100, description="years until a month of the journal is detached and kept apart"
    )
    message_days: int = Field(
        400,
        ge=90,
        le=36_500,
        description="days until ended messages of partners and to them are removed; open ones stay",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    transaction_log: Literal["all", "trouble", "none"] = Field(
        "all",
        description="messages of partners that have an event in the log, at level info: all; those in trouble (slow, refused, "
        "unreadable, unanswered, tried again); none",
    )
    slow_ms: int = Field(1000, ge=0, description="an answer that takes so many milliseconds is slow: trouble")

    @field_validator("*")
    @classmethod
    def _no_zero_byte(cls, value: object) -> object:
        """No path and no name has one; what is given one would fail with a traceback."""
        for text in (*value, *value.values()) if isinstance(value, dict) else (value,):
            if isinstance(text, str | Path) and "\0" in str(text):
                raise ValueError("has a zero byte")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then kks.toml."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**overrides: object) -> Settings:
    """Read and check every setting. Raises SettingsError naming the first wrong one."""
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {_env_name(name)}: {first['msg']}") from None
    except (ValueError, OSError) as error:  # kks.toml is not TOML, or cannot be read
        raise SettingsError(f"kks.toml: {error}") from None
    _check_database_url(settings.database_url)
    return settings


def describe_settings(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value (a password masked) and meaning of each setting, in order. Of options only those that the back end knows."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name == "database_url" and value:
            value = shown_url(make_url(value))
        if name == "key_options":
            value = _shown_options(settings.key_backend, value)
        rows.append((_env_name(name), "" if value is None else str(value), field.description or ""))
    return rows


def shown_url(url: URL) -> str:
    """A database address without its password, wherever in the address that stands."""
    if "password" in url.query:
        url = url.update_query_dict({"password": "***"})
    return url.render_as_string(hide_password=True)


def _shown_options(backend: str, options: dict[str, str]) -> dict[str, str]:
    """Each value masked that may be a PIN: of an option that the back end has not, or a number where a file is named."""
    try:
        known = backends.find(backend).options
    except KeysError:
        known = {}
    return {
        name: "***" if name not in known or (name.endswith("_file") and Path(value).name.isdecimal()) else value
        for name, value in options.items()
    }


def _env_name(name: str) -> str:
    return f"KKS_{name.upper()}"


def _check_database_url(url: str | None) -> None:
    if url is None:
        return
    try:
        backend = make_url(url).get_backend_name()
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        raise SettingsError("setting KKS_DATABASE_URL: is not a database address") from None
    if backend not in ("postgresql", "postgres"):
        raise SettingsError(f"setting KKS_DATABASE_URL: only PostgreSQL is supported, not {backend}")

"""Settings from the environment (`GATEWAY_*`); `.env.example` is their manual.

Read once, by the entry points and `wiring`; everything else is given what it needs. What is data
about providers and prices lives in `gateway.toml`, not here.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.domain.oidc import Granted, read_roles

PREFIX = "GATEWAY_"


class SettingsError(Exception):
    """The environment is not usable; `problems` names every variable that is wrong and why."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Take one line per problem."""
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"the environment is not usable:{lines}")


def _postgres_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a plain postgresql:// URL, without a driver name")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must start with redis://, rediss:// or unix://")
    return value


def _pepper(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 32:
        raise ValueError("must have at least 32 characters")
    return value


def _web_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http:// or https:// URL without a query")
    return value.rstrip("/")


def _issuer(value: str) -> str:
    # Not a character less: tokens must name the issuer exactly so, a trailing slash included.
    _web_url(value)
    return value


def _asset_store(value: str) -> str:
    if value == "off" or re.fullmatch(r"file:.+|s3://[^/]+(/.*)?", value):
        return value
    raise ValueError("must be off, file:DIR or s3://bucket/prefix")


def _host_ports(value: object) -> object:
    """Split `host:port, [v6]:port` and bring each to lower case."""
    if not isinstance(value, str):
        return value
    entries = [entry.lower() for entry in re.split(r"[,\s]+", value) if entry]
    for entry in entries:
        match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})", entry)
        if not match or not 0 < int(match[2]) < 65536:
            raise ValueError(f"{entry!r} is not host:port")
    return entries


def _secret_keys(value: object) -> object:
    """Split keys at commas and check each."""
    if not isinstance(value, str):
        return value
    return tuple(_pepper(SecretStr(key.strip())) for key in value.split(",") if key.strip())


SecretList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_secret_keys)]
HostPorts = Annotated[frozenset[str], NoDecode, BeforeValidator(_host_ports)]


def _roles(value: object) -> object:
    return read_roles(value) if isinstance(value, str) else value


Roles = Annotated[tuple[Granted, ...], NoDecode, BeforeValidator(_roles)]


def _existing_file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError("no such file")
    return value


class Settings(BaseSettings):
    """Every environment variable of the gateway, checked; durations carry their unit."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = None
    """PostgreSQL; None means the embedded one in `data_dir`."""
    database_wait_seconds: int = Field(default=60, ge=0, le=3600)
    """How long a process that starts waits for PostgreSQL to answer, before it gives up."""
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = None
    """Valkey or Redis; None means the embedded one in `data_dir`."""
    data_dir: Path = Path("data")
    """Where the embedded engines and the generated admin key live."""
    config: Annotated[Path, AfterValidator(_existing_file)] | None = None
    """The operator's `gateway.toml`: upstreams, prices, aliases."""
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    worker_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where a worker serves its own counters; None: nowhere."""
    admin_key: SecretStr | None = None
    """Bearer of `/admin/v1`; None: `up` generates one and keeps it in `data_dir`."""
    session_idle_hours: int = Field(default=12, ge=1, le=24 * 30)
    """An operator's login ends when it was not used for so long."""
    session_max_days: int = Field(default=7, ge=1, le=90)
    """An operator's login ends after this at the latest."""
    oidc_issuer: Annotated[str, AfterValidator(_issuer)] | None = None
    """Where operators log in with OpenID Connect, exactly as its tokens name it; None: nowhere."""
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    """None: a public client, which PKCE alone protects."""
    oidc_role_claim: str = "groups"
    """The claim whose texts `oidc_roles` maps; a dot leads into a claim."""
    oidc_roles: Roles = ()
    """`group=role` or `group=member:team`; the first that fits counts."""
    oidc_scopes: str = "openid profile email"
    oidc_ca_file: Annotated[Path, AfterValidator(_existing_file)] | None = None
    """Extra certificate authorities for the issuer, PEM."""
    oidc_allow_http: bool = False
    """Whether an issuer on this machine may be called without TLS."""
    secret_key: Annotated[SecretStr, AfterValidator(_pepper)] | None = None
    """What seals secrets at rest; None: a generated one, kept in the database."""
    old_secret_keys: SecretList = ()
    """Earlier secret keys: they open what they sealed until `gateway secrets rotate` is done."""
    public_url: Annotated[str, AfterValidator(_web_url)] | None = None
    """The base of the links we hand out; None: the host and port we listen on."""
    sync_wait_seconds: int = Field(default=290, ge=1, le=3600)
    waits_max: int = Field(default=5_000, ge=1, le=1_000_000)
    """How many callers of one API process may wait for pictures or on a stream at once."""
    batch_max_mib: int = Field(default=64, ge=1, le=1024)
    """How many MiB the file of a batch may have."""
    batch_lines_running: int = Field(default=100, ge=1, le=10_000)
    """How many lines of all batches of a team may be under way at once."""
    task_ttl_hours: int = Field(default=24, ge=1, le=24 * 365)
    keep_tasks_days: int | None = Field(default=None, ge=4, le=36500)
    """How long ended tasks are kept; None: for ever. Callbacks are tried for three days."""
    keep_payloads_days: int | None = Field(default=None, ge=1, le=36500)
    """How long the requests of ended tasks (prompts, picture links) are kept; None: for ever."""
    asset_store: Annotated[str, AfterValidator(_asset_store)] = "off"
    """`off`, `file:DIR` or `s3://bucket/prefix`."""
    callback_allowed_hosts: HostPorts = frozenset()
    """`host:port` of receivers exempt from the private-address rule, in lower case."""
    callback_ca_file: Annotated[Path, AfterValidator(_existing_file)] | None = None
    """Extra certificate authorities for callbacks, PEM."""
    fetch_allowed_hosts: HostPorts = frozenset()
    """`host:port` of image servers exempt from the private-address rule, in lower case."""
    log_format: Literal["console", "json"] = "console"
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(_web_url)] | None = None
    """Reserved: where traces will go (OTLP over HTTP). No traces are sent yet."""

    @property
    def base_url(self) -> str:
        """The address callers see, without a trailing slash."""
        if self.public_url is not None:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def load_settings(**overrides: object) -> Settings:
    """The settings of this process; a command's options go in `overrides`, by field name.

    Raises SettingsError with every problem at once, including GATEWAY_* variables nobody knows.
    No value is quoted back, for it may be a secret.
    """
    problems = list(_unknown_variables())
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            name = PREFIX + str(item["loc"][0]).upper()
            problems.append(f"{name}: {item['msg'].removeprefix('Value error, ')}")
        raise SettingsError(problems) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _unknown_variables() -> Iterable[str]:
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(os.environ):
        suffix = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and suffix not in known:
            close = difflib.get_close_matches(suffix, known, n=1)
            hint = f"did you mean {PREFIX}{close[0]}?" if close else "see .env.example for all"
            yield f"{name}: no such setting, {hint}"

"""The edge's settings: the one place in this package where the environment is read."""

import os
import socket
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

PREFIX = "POINTSMAN_EDGE_"
# Settings that the edge shares with control carry no EDGE in their names.
SHARED_NAMES = {"log_format": "POINTSMAN_LOG_FORMAT", "log_level": "POINTSMAN_LOG_LEVEL"}

SEED_SCHEMES = ("redis", "rediss", "unix")
ORIGIN_SCHEMES = ("postgresql", "postgres")

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=86_400_000)]
CacheBytes = Annotated[int, msgspec.Meta(ge=4096, le=2**34)]


class ConfigError(ValueError):
    """A setting that cannot be used; the message names its variable."""


class EdgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is the variable POINTSMAN_EDGE_<FIELD>, but for those in SHARED_NAMES; see docs/settings.md."""

    seeds: tuple[str, ...]
    host: str = "127.0.0.1"
    port: Port = 8080
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8081
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = os.cpu_count() or 1
    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = socket.gethostname() or "edge"
    state_dir: str = "."
    origin_url: str = ""
    unknown_host: Literal["default", "not-found"] = "default"
    cache_bytes: CacheBytes = 64 * 2**20
    absence_cache_bytes: CacheBytes = 8 * 2**20
    ttl_ms: Milliseconds = 600_000
    absence_ttl_ms: Milliseconds = 60_000
    origin_ttl_ms: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 1000
    stale_ms: Milliseconds = 600_000
    connect_timeout_ms: Milliseconds = 500
    reply_timeout_ms: Milliseconds = 250
    ping_interval_ms: Milliseconds = 250
    ping_timeout_ms: Milliseconds = 1000
    flights_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    refreshes_max: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 1000
    waiters_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    origin_connections: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    origin_queue_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5000
    origin_timeout_ms: Milliseconds = 1000
    drain_ms: Milliseconds = 5000
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def variable(field: str) -> str:
    """The environment variable of a field."""
    return SHARED_NAMES.get(field, PREFIX + field.upper())


def load(environ: Mapping[str, str]) -> EdgeConfig:
    """The settings in `environ`; raises ConfigError."""
    known = {variable(field): field for field in EdgeConfig.__struct_fields__}
    strays = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    if strays:
        raise ConfigError(f"{strays[0]} is no setting of the edge; docs/settings.md lists them")
    values: dict[str, object] = {field: environ[name] for name, field in known.items() if environ.get(name)}
    if "seeds" not in values:
        raise ConfigError(f"{variable('seeds')} is not set: give the redis:// URL of one shard or more, with commas")
    values["seeds"] = tuple(_checked_seed(url.strip()) for url in str(values["seeds"]).split(",") if url.strip())
    _check_origin(str(values.get("origin_url", "")))
    try:
        return msgspec.convert(values, EdgeConfig, strict=False)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        raise ConfigError(f"{variable(place.rstrip('`').split('[')[0])}: {message}") from error


def _check_origin(url: str) -> None:
    """The message leaves the URL out: it has a password."""
    try:
        parts = urlsplit(url)
        is_usable = not url or (parts.scheme in ORIGIN_SCHEMES and parts.port != 0)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(f"{variable('origin_url')}: this is no postgresql:// URL with a port of 1 to 65535")


def _checked_seed(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in SEED_SCHEMES and bool(parts.path if parts.scheme == "unix" else parts.hostname)
        is_usable = is_usable and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(f"{variable('seeds')}: {url!r} is no redis://, rediss:// or unix:// URL of a shard")
    return url

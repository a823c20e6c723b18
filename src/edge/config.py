"""The edge's settings: the one place in this package where the environment is read."""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from edge._client import Networks

PREFIX = "POINTSMAN_EDGE_"
# Settings that the edge shares with control carry no EDGE in their names.
SHARED_NAMES = {"log_format": "POINTSMAN_LOG_FORMAT", "log_level": "POINTSMAN_LOG_LEVEL"}

# Addresses that the public is served on: a machine's few interfaces, IPv4 and IPv6. Each costs a socket per worker.
HOSTS_MAX = 8
UNIX_PATH_BYTES_MAX = 107  # sun_path of sockaddr_un, without its closing zero
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

CLICK_SEGMENT_BYTES_MIN = 65_536  # edge._segment's
CLICK_BLOCK_BYTES = 4096
# A worker has a segment under way, a spare, and some that wait; in a roll its successor has as many.
CLICK_SEGMENTS_OF_BACKLOG = 8

SEED_SCHEMES = ("redis", "rediss", "unix")
ORIGIN_SCHEMES = ("postgresql", "postgres")

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=86_400_000)]
CacheBytes = Annotated[int, msgspec.Meta(ge=4096, le=2**34)]
# What settings may add to the answers: nothing that could end a field or begin another one.
RootTarget = Annotated[str, msgspec.Meta(pattern=r"\A(https?://[\x21-\x7e]{1,2000})?\Z")]
StrictTransport = Annotated[str, msgspec.Meta(pattern=r"\A(max-age=[0-9]{1,10}(; includeSubDomains)?(; preload)?)?\Z")]
ReferrerPolicy = Literal[
    "",
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
]


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
    stale_ms: Milliseconds = 3_600_000
    replica_ms: Annotated[int, msgspec.Meta(ge=0, le=86_400_000)] = 60_000
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
    root_target: RootTarget = ""
    robots: Literal["allow", "disallow"] = "allow"
    referrer_policy: ReferrerPolicy = ""
    hsts: StrictTransport = ""
    first_byte_timeout_ms: Milliseconds = 10_000
    head_timeout_ms: Milliseconds = 10_000
    idle_timeout_ms: Milliseconds = 75_000
    unsent_timeout_ms: Milliseconds = 30_000
    linger_timeout_ms: Milliseconds = 2000
    connection_requests_max: Annotated[int, msgspec.Meta(ge=1, le=2**31)] = 10_000
    pipeline_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    unsent_bytes_max: Annotated[int, msgspec.Meta(ge=131_072, le=2**34)] = 64 * 2**20
    trusted_networks: str = ""
    proxy_protocol: Literal["off", "required"] = "off"
    forwarded: Literal["off", "forwarded", "x-forwarded-for"] = "off"
    unknown_codes_per_s: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 100
    unknown_codes_burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    budget_clients_max: Annotated[int, msgspec.Meta(ge=8, le=2**24)] = 65_536
    connections_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    client_connections_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    snapshot_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**30)] = 16 * 2**20
    snapshot_interval_ms: Milliseconds = 60_000
    clicks: bool = True
    click_address: Literal["full", "truncated", "none"] = "truncated"
    click_user_agent: bool = True
    click_referrer: bool = True
    click_query: bool = True
    click_honor_opt_out: bool = True
    click_unknown_codes: bool = True
    click_segment_bytes: Annotated[int, msgspec.Meta(ge=CLICK_SEGMENT_BYTES_MIN, le=2**26)] = 8 * 2**20
    click_backlog_bytes: Annotated[int, msgspec.Meta(ge=2**20, le=2**40)] = 2**30
    click_seal_ms: Annotated[int, msgspec.Meta(ge=50, le=60_000)] = 1000
    click_sync_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 0
    click_stream_frames: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 512
    click_frames_in_flight: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    click_ack_timeout_ms: Milliseconds = 5000
    click_flush_ms: Milliseconds = 2000
    click_compression: Literal["auto", "always", "never"] = "auto"
    drain_idle_ms: Milliseconds = 1000
    ready_timeout_ms: Milliseconds = 30_000
    unix_socket: str = ""
    unix_socket_mode: Annotated[str, msgspec.Meta(pattern=r"^0?[0-7]{3}$")] = "660"
    tls_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    tls_dir: str = ""
    tls_handshake_timeout_ms: Milliseconds = 5000
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def click_room_bytes(self) -> int:
        """The size of a segment: as it is set, or so that each worker can have some within the backlog."""
        share = self.click_backlog_bytes // (self.workers * CLICK_SEGMENTS_OF_BACKLOG)
        return min(self.click_segment_bytes, share) // CLICK_BLOCK_BYTES * CLICK_BLOCK_BYTES

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses in `host`, IPv6 ones without brackets."""
        return tuple(host.strip().removeprefix("[").removesuffix("]") for host in self.host.split(","))


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
        config = msgspec.convert(values, EdgeConfig, strict=False)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        raise ConfigError(f"{variable(place.rstrip('`').split('[')[0])}: {message}") from error
    _check_listening(config)
    _check_clicks(config)
    return _checked_trust(config)


def _check_listening(config: EdgeConfig) -> None:
    hosts = config.hosts
    if len(hosts) > HOSTS_MAX:
        raise ConfigError(f"{variable('host')}: {len(hosts)} addresses are more than {HOSTS_MAX}")
    for host in hosts:
        if not _is_host(host):
            raise ConfigError(f"{variable('host')}: {host!r} is no address and no name of a host")
        if hosts.count(host) > 1:
            raise ConfigError(f"{variable('host')}: {host!r} stands there twice")
    if len(os.fsencode(config.unix_socket)) > UNIX_PATH_BYTES_MAX or "\0" in config.unix_socket:
        raise ConfigError(f"{variable('unix_socket')}: a path has at most {UNIX_PATH_BYTES_MAX} bytes")
    if config.tls_port == config.port:
        raise ConfigError(f"{variable('tls_port')}: {config.port} is the port of plain HTTP; TLS needs another one")
    if bool(config.tls_port) != bool(config.tls_dir):
        raise ConfigError(f"{variable('tls_port')}: it goes with {variable('tls_dir')}; set both or neither")


def _check_clicks(config: EdgeConfig) -> None:
    least = config.workers * CLICK_SEGMENTS_OF_BACKLOG * CLICK_SEGMENT_BYTES_MIN
    if config.click_backlog_bytes < least:
        message = f"{config.click_backlog_bytes} bytes are too few for {config.workers} workers, which need {least}"
        raise ConfigError(f"{variable('click_backlog_bytes')}: {message}")


def _is_host(host: str) -> bool:
    if ":" not in host:
        return HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


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
        shown = url.rpartition("@")[2]  # what stands before it may be a password
        raise ConfigError(f"{variable('seeds')}: {shown!r} is no redis://, rediss:// or unix:// URL of a shard")
    return url


def _checked_trust(config: EdgeConfig) -> EdgeConfig:
    """Whoever is believed about clients must be named: else anyone could say to be anyone."""
    try:
        networks = Networks(config.trusted_networks)
    except ValueError as error:
        raise ConfigError(f"{variable('trusted_networks')}: {error}") from error
    if config.tls_port and config.proxy_protocol != "off":
        raise ConfigError(
            f"{variable('proxy_protocol')}: the edge reads none before a TLS handshake; unset {variable('tls_port')}"
        )
    for field in ("proxy_protocol", "forwarded"):
        value = getattr(config, field)
        if value != "off" and not len(networks):
            message = f"{value!r} needs {variable('trusted_networks')}, the networks of the proxies that are believed"
            raise ConfigError(f"{variable(field)}: {message}")
    return config

"""ControlConfig: the settings of the control plane, and the only reader of its environment."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import ada_url
import msgspec
from msgspec import Meta

from control.errors import Error

PREFIX: Final = "POINTSMAN_"
# A century: longer is for ever, and dates before 1 do not exist.
Days = Annotated[int, Meta(ge=1, le=36_500)]


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process's settings; the field `control_port` is the variable POINTSMAN_CONTROL_PORT, and so on."""

    database_url: Annotated[str, Meta(min_length=1)]
    control_host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    control_port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    short_url: str = "http://127.0.0.1:8080"
    geo_file: str = ""
    clicks_raw: Literal["off", "on"] = "off"
    clicks_raw_days: Days = 90
    clicks_links_days: Days = 400
    clicks_scopes_days: Days = 1830
    clicks_unknown_days: Days = 90
    clicks_segments_days: Days = 35
    clicks_dead_days: Days = 90
    clicks_dead_max: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    clicks_writers_days: Days = 400
    moves_soak_s: Annotated[int, Meta(ge=1, le=604_800)] = 60
    moves_copy_links_s: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    moves_remove_links_s: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    moves_latency_ms: Annotated[int, Meta(ge=1, le=1000)] = 20
    moves_lost_after_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    sentinels: str = ""
    audit_links_s: Annotated[int, Meta(ge=0, le=1_000_000)] = 500
    audit_repair: Literal["off", "on"] = "on"
    clicks_claim_idle_ms: Annotated[int, Meta(ge=1000, le=3_600_000)] = 30_000
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def load(environ: Mapping[str, str]) -> ControlConfig:
    """The settings in `environ`; raises Error("setting_invalid") naming the variable that is missing or wrong."""
    values = {}
    for field in ControlConfig.__struct_fields__:
        value = environ.get(PREFIX + field.upper())
        if value:
            values[field] = value
    if "database_url" not in values:
        raise Error("setting_invalid", "POINTSMAN_DATABASE_URL is not set; give it a postgresql:// URL")
    for field, value in values.items():
        _check_field(field, value)
    config = msgspec.convert(values, ControlConfig, strict=False)
    _check_short_url(config.short_url)
    return config


def _check_field(field: str, value: str) -> None:
    """Convert one field alone, so that the message can name its variable."""
    try:
        msgspec.convert({"database_url": "-", field: value}, ControlConfig, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).split(" - at ", maxsplit=1)[0]
        raise Error("setting_invalid", f"{PREFIX}{field.upper()} is {value!r}: {reason}") from error


def _check_short_url(value: str) -> None:
    url = ada_url.URL(value) if ada_url.URL.can_parse(value) else None
    if url is None or url.protocol not in ("http:", "https:") or url.pathname != "/" or url.search or url.hash:
        raise Error("setting_invalid", f"{PREFIX}SHORT_URL is {value!r}: it must be like https://go.example, no path")

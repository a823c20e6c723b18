"""DevConfig: the settings of `pointsman dev`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from control.errors import Error

PREFIX: Final = "POINTSMAN_"

Port = Annotated[int, Meta(ge=1, le=65_535)]


class DevConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the state lies and where the outside finds us; the field `data` is the variable POINTSMAN_DATA."""

    data: Annotated[str, Meta(min_length=1)] = ".pointsman"
    control_port: Port = 8000
    edge_port: Port = 8080
    edge_admin_port: Port = 8081
    edge_workers: Annotated[int, Meta(ge=1, le=256)] = os.cpu_count() or 1

    @property
    def directory(self) -> Path:
        """The state directory, absolute."""
        return Path(self.data).absolute()

    @property
    def ports(self) -> dict[str, int]:
        """The ports that the outside relies on, by the variable that sets them."""
        fields = ("control_port", "edge_port", "edge_admin_port")
        return {variable(field): getattr(self, field) for field in fields}


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def load(environ: Mapping[str, str]) -> DevConfig:
    """The settings in `environ`; raises Error("setting_invalid") naming the variable that is wrong."""
    values = {}
    for field in DevConfig.__struct_fields__:
        value = environ.get(variable(field))
        if value:
            values[field] = _checked(field, value)
    config = msgspec.convert(values, DevConfig, strict=False)
    if len(set(config.ports.values())) < len(config.ports):
        raise Error("setting_invalid", f"{', '.join(config.ports)} must be three different ports")
    return config


def _checked(field: str, value: str) -> str:
    try:
        msgspec.convert({field: value}, DevConfig, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).split(" - at ", maxsplit=1)[0]
        raise Error("setting_invalid", f"{variable(field)} is {value!r}: {reason}") from error
    return value

"""Settings of trust and limits: what is taken, and what is refused with the variable's name (I7)."""

import pytest

from edge.config import ConfigError, EdgeConfig, load, variable

SEEDS = {variable("seeds"): "redis://127.0.0.1:1"}


def loaded(**fields: str) -> EdgeConfig:
    """The settings of an environment with these fields."""
    return load(SEEDS | {variable(field): value for field, value in fields.items()})


def test_nobody_is_believed_unless_named() -> None:
    """The defaults: the address of the connection is the client's."""
    config = loaded()
    assert (config.trusted_networks, config.proxy_protocol, config.forwarded) == ("", "off", "off")


@pytest.mark.parametrize(
    ("field", "value"), [("proxy_protocol", "required"), ("forwarded", "forwarded"), ("forwarded", "x-forwarded-for")]
)
def test_belief_needs_trusted_networks(field: str, value: str) -> None:
    """With them it is taken; without them, or with blanks for them, it is refused."""
    networks = "10.0.0.0/8, fd00::/8"
    assert value == getattr(loaded(trusted_networks=networks, **{field: value}), field)
    for none in ("", " , "):
        with pytest.raises(ConfigError, match=f"^{variable(field)}: '{value}' needs {variable('trusted_networks')}"):
            loaded(trusted_networks=none, **{field: value})


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "10.0.0.0/8,proxy.example", ",".join(["10.0.0.0/8"] * 65)])
def test_networks_that_cannot_be_are_named(networks: str) -> None:
    """When the edge starts, not when a client comes."""
    with pytest.raises(ConfigError, match=f"^{variable('trusted_networks')}: "):
        loaded(trusted_networks=networks)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("proxy_protocol", "optional"),
        ("forwarded", "x-real-ip"),
        ("unknown_codes_per_s", "-1"),
        ("unknown_codes_per_s", "1.5"),
        ("unknown_codes_per_s", "1000001"),
        ("unknown_codes_burst", "0"),
        ("unknown_codes_burst", "1000001"),
        ("budget_clients_max", "7"),
        ("budget_clients_max", "16777217"),
        ("connections_max", "0"),
        ("client_connections_max", "0"),
    ],
)
def test_limits_have_bounds(field: str, value: str) -> None:
    """Nothing gets through that the parts built with it would refuse."""
    with pytest.raises(ConfigError, match=f"^{variable(field)}: "):
        loaded(**{field: value})


def test_unknown_codes_may_have_no_limit() -> None:
    """0 is off."""
    assert loaded(unknown_codes_per_s="0").unknown_codes_per_s == 0

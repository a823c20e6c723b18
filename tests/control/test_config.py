"""Settings are read once, whole, or refused with the variable's name."""

import pytest

from control.config import ControlConfig, load
from control.errors import Error

URL = {"POINTSMAN_DATABASE_URL": "postgresql://x"}


def test_settings_have_defaults() -> None:
    """Only the database must be given."""
    assert load(URL | {"HOME": "/"}) == ControlConfig(database_url="postgresql://x")


def test_settings_are_read_from_the_environment() -> None:
    """Each field from its variable, as its type."""
    environ = URL | {
        "POINTSMAN_CONTROL_PORT": "9000",
        "POINTSMAN_SHORT_URL": "https://go.example",
        "POINTSMAN_LOG_FORMAT": "json",
    }
    config = load(environ)
    assert (config.control_port, config.short_url, config.log_format) == (9000, "https://go.example", "json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POINTSMAN_DATABASE_URL", ""),
        ("POINTSMAN_CONTROL_PORT", "x"),
        ("POINTSMAN_CONTROL_PORT", "70000"),
        ("POINTSMAN_CONTROL_PORT", "-1"),
        ("POINTSMAN_AUDIT_LINKS_S", "-1"),
        ("POINTSMAN_AUDIT_LINKS_S", "1000001"),
        ("POINTSMAN_AUDIT_REPAIR", "perhaps"),
        ("POINTSMAN_LOG_FORMAT", "xml"),
        ("POINTSMAN_LOG_LEVEL", "loud"),
        ("POINTSMAN_SHORT_URL", "go.example"),
        ("POINTSMAN_SHORT_URL", "ftp://go.example"),
        ("POINTSMAN_SHORT_URL", "https://go.example/path"),
    ],
)
def test_bad_setting_is_named(name: str, value: str) -> None:
    """One line that says which variable and why."""
    with pytest.raises(Error, match=name) as caught:
        load(URL | {name: value})
    assert "\n" not in str(caught.value)

"""Of a referrer the host stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.clicks.referrers import host_of, origin_of, plain_host


@pytest.mark.parametrize(
    ("referrer", "expected"),
    [
        (b"https://example.com", "example.com"),
        (b"https://www.Example.COM:8443/path?query#fragment", "example.com"),
        (b"http://user:secret@news.example/", "news.example"),
        (b"HTTPS://EXAMPLE.COM./", "example.com"),
        (b"https://b\xc3\xbccher.example/", "xn--bcher-kva.example"),
        (b"https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        (b"https://example.com\\@evil.example/", "example.com"),
        (b"https://example.com/caf\xe9?\xff", "example.com"),
        (b"https://www.com/", "www.com"),
        (b"https://[2001:DB8::1]:8080/", "[2001:db8::1]"),
        (b"https://127.0.0.1/", "127.0.0.1"),
        (b"android-app://com.google.android.gm/https/example.com", "com.google.android.gm"),
        (b"android-app://com.Slack", "com.slack"),
        (b"", ""),
        (b"about:client", ""),
        (b"example.com/page", ""),
        (b"/page", ""),
        (b"https:///page", ""),
        (b"https://%zz/", ""),
        (b"https://\xff\xfe/", ""),
        (b"https://a b/", ""),
        (b"javascript:alert(1)", ""),
        (b"android-app://../", ""),
    ],
)
def test_host_of_a_referrer(referrer: bytes, expected: str) -> None:
    """Lower case, as ASCII, without www., port and credentials; "" for what names none."""
    assert host_of(referrer) == expected


def test_long_hosts_keep_their_end() -> None:
    """Whole labels of it: who owns a name stands there."""
    host = ".".join(["a" * 20] * 5) + ".example.com"
    assert host_of(b"https://" + host.encode()) == ".".join(["a" * 20] * 2) + ".example.com"
    assert len(host_of(b"https://" + b"a" * 63 + b"." + b"b" * 63)) <= 64


@pytest.mark.parametrize(
    ("host", "expected"),
    [("go.example", "go.example"), ("go.example:8080", "go.example"), ("WWW.go.example", "go.example"), ("::", "")],
)
def test_domains_host_is_compared_plainly(host: str, expected: str) -> None:
    """As a referrer from there is."""
    assert plain_host(host) == expected


@given(text=st.binary(max_size=255) | st.binary(max_size=240).map(lambda tail: b"https://" + tail))
def test_any_bytes_have_a_host_or_none(text: bytes) -> None:
    """At most 64 bytes of ASCII; and the origin says as much as the whole."""
    host = host_of(text)
    assert len(host) <= 64
    assert host.isascii()
    assert host_of(origin_of(text)) == host

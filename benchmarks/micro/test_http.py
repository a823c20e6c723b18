"""Heads of requests: what curl, wrk and browsers send."""

import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from edge import _http

SMALL = b"GET /3kTMd9x HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
CURL = b"GET /3kTMd9x HTTP/1.1\r\nHost: sho.rt\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
BROWSER = (
    b"GET /3kTMd9x?utm_source=newsletter HTTP/1.1\r\n"
    b"Host: sho.rt\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Referer: https://www.example.com/newsletter/2024/05\r\n"
    b"Connection: keep-alive\r\n"
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-Site: cross-site\r\n"
    b"Priority: u=0, i\r\n"
    b"\r\n"
)
WRK = b"GET /3kTMd9x HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
PROXIED = (
    b"GET /3kTMd9x HTTP/1.1\r\n"
    b"Host: sho.rt\r\n"
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="126", "Google Chrome";v="126", "Not-A.Brand";v="8"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Windows"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
    b"Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    b"application/signed-exchange;v=b3;q=0.7\r\n"
    b"Sec-Fetch-Site: cross-site\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-User: ?1\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Referer: https://www.example.com/\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: de-DE,de;q=0.9,en;q=0.8\r\n"
    b"X-Forwarded-For: 203.0.113.7\r\n"
    b"X-Forwarded-Proto: https\r\n"
    b"X-Request-Id: 7f3a0c1e5b7d4c22\r\n"
    b"\r\n"
)
HEADS = {"least": SMALL, "curl": CURL, "browser": BROWSER}
PIPELINES = {"wrk": WRK, **HEADS, "proxied": PROXIED}
PIPELINED = 100


@pytest.mark.parametrize(("name", "head"), HEADS.items(), ids=HEADS)
def test_parse(compare: Compare, name: str, head: bytes) -> None:
    """The same head over and over; the result is the same tuple on both sides."""
    compare(f"request head, {name}", _http.parse, plain.parse, [head] * 100)


@pytest.mark.parametrize(("name", "head"), PIPELINES.items(), ids=PIPELINES)
def test_count_heads(compare: Compare, name: str, head: bytes) -> None:
    """A hundred heads in one buffer: the parser's own time, for one call from Python costs more than a head."""
    compare(f"{PIPELINED} request heads, {name}", _http.count_heads, plain.count_heads, [head * PIPELINED] * 10)

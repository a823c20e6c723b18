"""Debian's nginx: a map of all links, with its log, without it, with TLS; Lua with a GET of Redis for each request."""

import string
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.environment import which
from benchmarks.load import generator
from benchmarks.macro.rivals import certificate
from benchmarks.macro.rivals.rival import Rival, Stage
from benchmarks.macro.store import PLAIN_PREFIX
from benchmarks.processes import Command

MODULES: Final = Path("/usr/lib/nginx/modules")
LUA_MODULES: Final = ("ndk_http_module.so", "ngx_http_lua_module.so")
LUA_REDIS_CLIENT: Final = Path("/usr/share/lua/5.1/nginx/redis.lua")

LOG_FILE: Final = "access.log"
BUFFERED_LOG: Final = f"{LOG_FILE} combined buffer=64k flush=1s"

# A hash of 50,000 keys of one cache line each, with room so that nginx finds a size without warning.
MAP: Final = """
    map_hash_max_size 262144;
    map_hash_bucket_size 128;
    map $uri $target {
        include links.map;
    }
"""
TLS: Final = """
    ssl_certificate @{certificate};
    ssl_certificate_key @{key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:sessions:16m;
    ssl_session_timeout 1h;
"""
REDIRECT: Final = "return 302 $target;"

# Each worker keeps as many connections to Redis as there are clients; what it reads needs no decoding.
LUA_REDIRECT: Final = """
            content_by_lua_block {
                local client = require("nginx.redis"):new()
                client:set_timeout(1000)
                local is_open, failure = client:connect("127.0.0.1", @{redis_port})
                if not is_open then
                    ngx.log(ngx.ERR, "redis: ", failure)
                    return ngx.exit(503)
                end
                local target = client:get("@{prefix}" .. ngx.var.uri:sub(2))
                client:set_keepalive(60000, 512)
                if target == ngx.null then
                    return ngx.exit(404)
                end
                return ngx.redirect(target, 302)
            }
"""


class _Template(string.Template):
    """A template whose own places do not look like nginx's variables."""

    delimiter = "@"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What one kind of nginx has in the places of nginx.conf."""

    modules: str = ""
    access_log: str
    http: str = ""
    listen: str = ""
    location: str


def _write(stage: Stage, parts: _Parts) -> Command:
    template = _Template(Path(__file__).with_name("nginx.conf").read_text(encoding="utf-8"))
    config = stage.directory / "nginx.conf"
    config.write_text(
        template.substitute(asdict(parts), directory=stage.directory, port=stage.port),
        encoding="utf-8",
    )
    return Command([which("nginx") or "nginx", "-p", str(stage.directory), "-c", str(config)])


def _map(stage: Stage, access_log: str, *, http: str = "", listen: str = "") -> Command:
    lines = "".join(f"/{link.code} {link.target};\n" for link in stage.links)
    (stage.directory / "links.map").write_text(lines, encoding="ascii")
    return _write(stage, _Parts(access_log=access_log, http=MAP + http, listen=listen, location=REDIRECT))


def _map_with_log(stage: Stage) -> Command:
    return _map(stage, BUFFERED_LOG)


def _map_without_log(stage: Stage) -> Command:
    return _map(stage, "off")


def _map_deferred(stage: Stage) -> Command:
    return _map(stage, BUFFERED_LOG, listen=" deferred")


def _with_tls(stage: Stage) -> Command:
    pair = certificate.write(stage.directory)
    files = _Template(TLS).substitute(certificate=pair.certificate, key=pair.key)
    return _map(stage, BUFFERED_LOG, http=files, listen=" ssl")


def _lua_redis(stage: Stage) -> Command:
    modules = "".join(f"load_module {MODULES / name};\n" for name in LUA_MODULES)
    location = _Template(LUA_REDIRECT).substitute(redis_port=stage.redis_port, prefix=PLAIN_PREFIX)
    return _write(stage, _Parts(modules=modules, access_log=BUFFERED_LOG, location=location))


def _missing_nginx() -> str:
    return "" if which("nginx") else "no nginx: apt-get install nginx-light"


def _missing_tls() -> str:
    return _missing_nginx() or certificate.missing() or generator.missing_tls()


def _missing_lua() -> str:
    files = [MODULES / name for name in LUA_MODULES] + [LUA_REDIS_CLIENT]
    if all(file.exists() for file in files):
        return _missing_nginx()
    return "no Lua in nginx: apt-get install libnginx-mod-http-lua lua-nginx-redis"


LOGGED = Rival(
    name="nginx",
    title="a `map`, buffered access log",
    source="memory",
    command=_map_with_log,
    log_file=LOG_FILE,
    missing=_missing_nginx,
)
UNLOGGED = Rival(
    name="nginx-no-log",
    title="a `map`, no access log",
    source="memory",
    command=_map_without_log,
    missing=_missing_nginx,
)
DEFERRED = Rival(
    name="nginx-deferred",
    title="the same, accepting with the request (`listen … deferred`) as the edge does",
    source="memory",
    command=_map_deferred,
    log_file=LOG_FILE,
    missing=_missing_nginx,
)
LUA_REDIS = Rival(
    name="nginx-lua-redis",
    title="Lua, a Redis GET for each request",
    source="redis",
    command=_lua_redis,
    missing=_missing_lua,
    log_file=LOG_FILE,
)
WITH_TLS = Rival(
    name="nginx-tls",
    title="a `map`, TLS, buffered access log",
    source="memory",
    command=_with_tls,
    missing=_missing_tls,
    log_file=LOG_FILE,
    is_tls=True,
)

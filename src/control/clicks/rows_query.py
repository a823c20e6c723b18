"""The query by which PostgreSQL writes single clicks as lines of CSV or JSON; pure."""

from typing import Any, Final

_CLASSES: Final = "(ARRAY['human', 'bot', 'preview', 'head'])[r.class + 1]"
_AT: Final = """to_char(r.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
# Column -> its expression: what cannot be chosen by anybody.
_OURS: Final = {
    "at": _AT,
    "link_id": "r.link_id",
    "domain": "coalesce(domains.host, '')",
    "status": "r.status",
    "class": _CLASSES,
    "address": "coalesce(host(r.address), '')",
}
# What comes from requests or from whoever made the link.
_THEIRS: Final = {
    "code": "coalesce(links.code, '')",
    **{
        name: f"r.{name}"
        for name in (
            "country",
            "city",
            "browser",
            "os",
            "device",
            "referrer",
            "utm_source",
            "utm_medium",
            "utm_campaign",
            "user_agent",
            "referrer_url",
        )
    },
}
COLUMNS: Final = (*_OURS, *_THEIRS)
# A spreadsheet takes these for the beginning of a formula (OWASP, CSV injection); an apostrophe before them makes them
# text. In JSON nothing is changed.
_FORMULA: Final = r"E'^[=+\\-@\t\r\n]'"
# JSON escapes every control character, so neither of these two can stand in a line: nothing is quoted or doubled.
_JSON_OPTIONS: Final = {"format": "csv", "delimiter": "\x02", "quote": "\x01"}
_CSV_OPTIONS: Final = {"format": "csv", "header": True}


def of(*, is_csv: bool, is_of_link: bool) -> str:
    """The query; $1 and $2 are the first instant and the end, $3 is the link's id, if it is of one link."""
    theirs = {name: _guard(text) if is_csv else text for name, text in _THEIRS.items()}
    columns = ", ".join(f"{text} AS {name}" for name, text in (_OURS | theirs).items())
    query = f"""
        SELECT {columns} FROM click_rows AS r
        LEFT JOIN links ON links.id = r.link_id AND links.deleted_at IS NULL
        LEFT JOIN domains ON domains.id = r.domain_id
        WHERE r.at >= $1 AND r.at < $2 {"AND r.link_id = $3" if is_of_link else ""}
    """  # noqa: S608 (constants)
    return query if is_csv else f"SELECT row_to_json(line)::text FROM ({query}) AS line"  # noqa: S608 (constants)


def options(*, is_csv: bool) -> dict[str, Any]:
    """How COPY writes what the query gives."""
    return dict(_CSV_OPTIONS if is_csv else _JSON_OPTIONS)


def _guard(text: str) -> str:
    return f"CASE WHEN {text} ~ {_FORMULA} THEN '''' || {text} ELSE {text} END"

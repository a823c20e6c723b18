"""What a path asks for: codes in every spelling, the paths that every host is asked for, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge._path import PathKind, code_of, kind_of
from tests.edge.http_oracle import check_path


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"/3kTMd9x", b"3kTMd9x"),
        (b"/_-", b"_-"),
        (b"/%61%42%2d%5F", b"aB-_"),
        (b"/a%62c", b"abc"),
        (b"/" + b"a" * 64, b"a" * 64),
        (b"/" + b"%61" * 64, b"a" * 64),
    ],
)
def test_reads_codes(path: bytes, code: bytes) -> None:
    """Every percent-encoded spelling of a code is that code."""
    assert code_of(path) == code
    assert kind_of(path) == PathKind.CODE_PATH


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"abc",
        b"//",
        b"//abc",
        b"/abc/",
        b"/abc%2F",
        b"/a%2fb",
        b"/a/b",
        b"/.",
        b"/..",
        b"/%2e%2E",
        b"/./abc",
        b"/a/../abc",
        b"/a.b",
        b"/a~b",
        b"/a+b",
        b"/%",
        b"/abc%6",
        b"/%zz",
        b"/%6g",
        b"/%00",
        b"/%C3%BC",
        b"/%2561",
        b"/" + b"a" * 65,
        b"/" + b"%61" * 65,
        b"/.well-known",
        b"/.well-knowns/x",
        b"/robots.txt/",
        b"/ROBOTS.txt",
    ],
)
def test_other_paths_are_no_code(path: bytes) -> None:
    """Nothing is taken away, resolved, or decoded twice."""
    assert code_of(path) is None
    assert kind_of(path) == PathKind.NO_CODE


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/", PathKind.ROOT),
        (b"/robots.txt", PathKind.ROBOTS),
        (b"/%72obots%2Etxt", PathKind.ROBOTS),
        (b"/favicon.ico", PathKind.FAVICON),
        (b"/.well-known/", PathKind.WELL_KNOWN),
        (b"/.well-known/acme-challenge/x", PathKind.WELL_KNOWN),
        (b"/%2ewell-known/security.txt", PathKind.WELL_KNOWN),
    ],
)
def test_knows_the_paths_that_every_host_is_asked_for(path: bytes, kind: PathKind) -> None:
    """They are no codes: each has a dot, but for the root."""
    assert kind_of(path) == kind
    assert code_of(path) is None


PIECES = st.sampled_from([b"a", b"Z9", b"_", b".", b"/", b"%", b"%6", b"%61", b"%2F", b"%2e", b"robots.txt", b"\xff"])
PATHS = st.builds(
    lambda pieces: b"/" + b"".join(pieces), st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=70)
)


@given(PATHS)
def test_paths_are_read_as_by_decoding_them_whole(path: bytes) -> None:
    """Held against regular expressions over the decoded path."""
    check_path(path)

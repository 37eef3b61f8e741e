"""Requests, and what they accept."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.metrics import http
from mcastd.metrics.http import Request

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("head", "request_"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x", Request("GET", "/metrics", "")),
        (b"GET /metrics?a=b HTTP/1.0", Request("GET", "/metrics", "")),
        (b"HEAD / HTTP/1.1\r\nAccept: a\r\nACCEPT:b", Request("HEAD", "/", " a,b")),
    ],
)
def test_a_request_is_read(head: bytes, request_: Request) -> None:
    assert http.decode(head) == request_


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "request"),
        (b"GET /metrics", "request"),
        (b"GET /metrics HTTP/2", "request"),
        (b"GET metrics HTTP/1.1", "request"),
        (b"G T /metrics HTTP/1.1", "request"),
        (b"GET /metrics HTTP/1.1\r\nno colon", "field"),
        (b"GET /metrics HTTP/1.1\r\nHost : x", "field"),
    ],
)
def test_what_is_no_request_is_refused(head: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        http.decode(head)


@given(st.binary())
def test_arbitrary_bytes_are_read_or_refused(head: bytes) -> None:
    with contextlib.suppress(DecodeError):
        http.decode(head)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (PROMETHEUS_2, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.5", True),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, openmetrics: bool) -> None:
    assert http.wants_openmetrics(accept) == openmetrics


@given(st.text())
def test_any_accept_is_understood(accept: str) -> None:
    assert http.wants_openmetrics(accept) in (True, False)

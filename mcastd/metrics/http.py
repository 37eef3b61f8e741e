"""As much of HTTP/1.1 (RFC 9112) as a scraper needs. Pure."""

from typing import Final, NamedTuple

from mcastd.errors import DecodeError

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Request(NamedTuple):
    """What is asked for; ``accept`` are the formats that may be sent."""

    method: str
    path: str
    accept: str


def decode(head: bytes) -> Request:
    """The head of a request, up to its empty line. Raises DecodeError."""
    first, *fields = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[0].isalpha() or parts[1][:1] != "/" or not parts[2].startswith("HTTP/1."):
        raise DecodeError("request")
    accept = list[str]()
    for field in fields:
        name, colon, value = field.partition(":")
        if field and (not colon or not name or name != name.strip()):
            raise DecodeError("field")
        if name.lower() == "accept":
            accept.append(value)
    return Request(parts[0], parts[1].partition("?")[0], ",".join(accept))


def encode(status: int, kind: str = "text/plain; charset=utf-8", length: int = 0) -> bytes:
    """The head of an answer, after which the connection ends."""
    allow = "Allow: GET\r\n" if status == 405 else ""
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    return f"{head}{allow}Connection: close\r\n\r\n".encode()


def refusal(status: int, text: str) -> bytes:
    """A whole answer that says why there is no other one."""
    body = f"{text}\n".encode()
    return encode(status, length=len(body)) + body


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is asked for, and is not liked less than the text format."""
    openmetrics = text = 0.0
    for one in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in one.split(";"))
        weight = _weight(parameters)
        if kind == "application/openmetrics-text":
            openmetrics = max(openmetrics, weight)
        elif kind in ("text/plain", "text/*"):
            text = max(text, weight)
    return openmetrics > 0 and openmetrics >= text


def _weight(parameters: list[str]) -> float:
    given = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0

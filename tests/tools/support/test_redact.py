import base64

import pytest

from mcastd.tools.support.redact import redact

KEY = b"correct horse battery staple"
PEM = b"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    "encoded",
    [
        KEY,
        KEY.upper(),
        KEY.hex().encode(),
        KEY.hex().upper().encode(),
        b"0x" + KEY.hex().encode(),
        base64.b64encode(KEY),
    ],
)
def test_a_key_that_is_known_is_removed_in_every_encoding(encoded: bytes) -> None:
    text = redact(b"# the key: <" + encoded + b">\nmtu = 1398\n", [KEY])
    assert encoded not in text
    assert b"[redacted]" in text
    assert text.endswith(b"\nmtu = 1398\n")


def test_a_key_of_no_length_removes_nothing() -> None:
    assert redact(b"mtu = 1398", [b"", b"1"]) == b"mtu = 1398"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (b'psk = "a b" # c', b"psk = [redacted] # c"),
        (b"psk='a b'\nx", b"psk=[redacted]\nx"),
        (b'"psk" = """a\nb"""\nx = 1', b'"psk" = [redacted]\nx = 1'),
        (b'ipsec.psk = "a\\"b" x', b"ipsec.psk = [redacted] x"),
        (b'{"secret":"a","mtu":1398}', b'{"secret":[redacted],"mtu":1398}'),
        (b"secret = 0sAbC=\n", b"secret = [redacted]\n"),
        (b"Environment=DB_PASSWORD=hunter2 X=1", b"Environment=DB_PASSWORD=[redacted] X=1"),
        (b"api_token: abc", b"api_token: [redacted]"),
        (b'1.2.3.4 : PSK "a b"\n', b"1.2.3.4 : PSK [redacted]\n"),
        (b"1.2.3.4 : psk 0xabcd\n", b"1.2.3.4 : psk [redacted]\n"),
        (b"a\n" + PEM + b"\nb", b"a\n[redacted]\nb"),
        (PEM[:40], b"[redacted]"),
        (b"auth-trunc hmac(sha256) 0x" + 64 * b"0a" + b" 128", b"auth-trunc hmac(sha256) [redacted] 128"),
        (
            b"03[CHD] key => 18 bytes @ 0x7f3c\n03[CHD]    0: 8B 53 B2 01 8B 53 B2 01 8B 53 B2 01 8B 53 B2 01  .S\n"
            b"03[CHD]   16: 11 22                                            .\"\n03[CHD] next",
            b"03[CHD] key => 18 bytes @ 0x7f3c\n03[CHD]    0: [redacted]\n03[CHD]   16: [redacted]\n03[CHD] next",
        ),
    ],
)  # fmt: skip
def test_what_has_the_form_of_a_secret_is_removed(text: bytes, redacted: bytes) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        b'psk_file = "dc-tun.psk"',
        b'local_key = "dc.key"\nkey = 40',
        b'{"problem_code":"psk_or_identity","problem":"the PSK or the identity differs"}',
        b'"config_digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
        b"src 10.1.1.246 dst 177.54.214.20 proto esp spi 0xc1a2b3c4 reqid 1 mode tunnel",
        b"@th,0,32 0x00000800 @th,104,8 2",
        b"ipv4/conf/all/rp_filter: 2\n  eth0: 12 34\n2: eth0: <UP>\n",
        b"12:30:45.120 info    tunnel up  tunnel=gre1",
        b"mcastd.service: active (running)",
    ],
)
def test_what_is_no_secret_stays(text: bytes) -> None:
    assert redact(text, [KEY]) == text

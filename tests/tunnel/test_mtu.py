from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.model import Tunnel
from mcastd.config.proposals import Esp
from mcastd.net.gre import GreOptions
from mcastd.tunnel.mtu import Carrier, tunnel_mtu

CBC = Esp(iv=16, block=16, icv=16)
GCM = Esp(iv=8, block=4, icv=16)


def tunnel(key: int | None = None) -> Tunnel:
    return Tunnel(
        name="gre1",
        local=IPv4Address("10.44.6.1"),
        remote=IPv4Address("10.44.7.1"),
        address=IPv4Interface("10.44.4.6/30"),
        gre=GreOptions(key),
    )


@pytest.mark.parametrize(
    ("carrier", "path", "lower", "expected"),
    [
        (Carrier(esp=CBC), 1500, None, (1398, "ESP tunnel mode in UDP on a path of 1500")),
        (Carrier(esp=CBC), None, None, (1398, "ESP tunnel mode in UDP on a path of 1500")),
        (Carrier(esp=CBC), 1500, ("eth0", 1500), (1398, "ESP tunnel mode in UDP on a path of 1500")),
        (Carrier(esp=CBC), 1500, ("ipsec0", 1400), (1376, "GRE on ipsec0 of 1400")),
        (Carrier(esp=CBC), 1500, ("ipsec0", 1422), (1398, "ESP tunnel mode in UDP on a path of 1500")),
        (Carrier(esp=CBC), 1500, ("ipsec0", 1421), (1397, "GRE on ipsec0 of 1421")),
        (Carrier(esp=CBC, encap=False), 1500, None, (1414, "ESP tunnel mode on a path of 1500")),
        (Carrier(esp=CBC, mode="transport"), 1500, None, (1418, "ESP transport mode in UDP on a path of 1500")),
        (Carrier(esp=GCM, mode="transport", encap=False), 1500, None, (1442, "ESP transport mode on a path of 1500")),
        (Carrier(esp=CBC), 9001, ("eth0", 9001), (8902, "ESP tunnel mode in UDP on a path of 9001")),
        (Carrier(), 1500, ("eth0", 1500), (1476, "GRE on a path of 1500")),
        (Carrier(), 1500, ("eth0", 1400), (1376, "GRE on eth0 of 1400")),
        (Carrier(), None, None, (1476, "GRE on a path of 1500")),
    ],
)
def test_the_mtu_and_its_reason(
    carrier: Carrier, path: int | None, lower: tuple[str, int] | None, expected: tuple[int, str]
) -> None:
    assert tunnel_mtu(tunnel(), carrier, path, lower) == expected


@pytest.mark.parametrize("key", [0, 0x28])
def test_a_key_takes_four_bytes_also_the_key_zero(key: int) -> None:
    assert tunnel_mtu(tunnel(key), Carrier(esp=CBC), 1500, None)[0] == 1394
    assert tunnel_mtu(tunnel(key), Carrier(esp=CBC), 1500, ("ipsec0", 1400))[0] == 1372
    assert tunnel_mtu(tunnel(key), Carrier(), 1500, None)[0] == 1472


@given(
    carrier=st.builds(Carrier, esp=st.sampled_from((None, CBC, GCM)), encap=st.booleans()),
    path=st.none() | st.integers(576, 9001),
    lower=st.none() | st.tuples(st.just("below"), st.integers(576, 9001)),
    key=st.none() | st.just(1),
)
def test_it_is_the_smaller_of_both_and_the_reason_names_which(
    carrier: Carrier, path: int | None, lower: tuple[str, int] | None, key: int | None
) -> None:
    mtu, reason = tunnel_mtu(tunnel(key), carrier, path, lower)
    alone, _ = tunnel_mtu(tunnel(key), carrier, path, None)
    below = lower[1] - 24 - 4 * (key is not None) if lower else alone
    assert mtu == min(alone, below)
    assert ("on below of" in reason) == (below < alone)

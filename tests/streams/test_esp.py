"""What was lost of a CHILD_SA, over rekeyings, beside SAs that receive as the kernel's do."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from mcastd.net.xfrm import Replay, Sa
from mcastd.streams.esp import EspLosses

ADDRESS = IPv4Address("10.1.1.246")
WINDOW = 32


def sa(spi: int) -> Sa:
    return Sa(ADDRESS, spi)


@dataclass
class KernelSa:
    """The replay state as the kernel keeps it: RFC 4303, section 3.4.3."""

    highest: int = 0
    packets: int = 0
    received: set[int] = field(default_factory=set)

    def arrives(self, number: int) -> None:
        if number <= self.highest - WINDOW or number in self.received:
            return
        self.received.add(number)
        self.highest = max(self.highest, number)
        self.packets += 1

    def replay(self) -> Replay:
        return Replay(self.highest, self.packets)


def read(esp: EspLosses, kernel: dict[Sa, KernelSa], **current: Sa) -> int | None:
    esp.configure(current)
    for one in esp.sas():
        esp.take(one, kernel[one].replay() if one in kernel and kernel[one].highest else None)
    return esp.counts().get("esp/c/lost")


def test_what_is_never_read_as_without_xfrm_is_not_kept_over_rekeyings() -> None:
    esp = EspLosses()
    for spi in range(1, 10):
        esp.configure({"c": sa(spi)})
        assert esp.sas() == [sa(spi)]
    esp.configure({})
    assert esp.sas() == []


def test_over_rekeyings_it_is_the_sum_and_the_old_sa_counts_until_it_is_gone() -> None:
    esp, old, new = EspLosses(), KernelSa(), KernelSa()
    kernel = {sa(1): old}
    assert read(esp, kernel, c=sa(1)) is None
    for number in (*range(1, 100), *range(103, 200)):
        old.arrives(number)
    assert read(esp, kernel, c=sa(1)) == 0  # what this process has not seen is not its loss
    for number in (*range(200, 300), *range(305, 400)):
        old.arrives(number)
    assert read(esp, kernel, c=sa(1)) == 5
    kernel[sa(2)] = new
    for number in (*range(400, 420), *range(427, 470)):
        old.arrives(number)
    for number in (*range(1, 40), *range(42, 100)):
        new.arrives(number)
    assert read(esp, kernel, c=sa(2)) == 5 + 7 + 2
    del kernel[sa(1)]
    assert read(esp, kernel, c=sa(2)) == 14
    assert esp.sas() == [sa(2)]
    assert read(esp, {}, c=sa(2)) == 14
    assert read(esp, {}) == 14
    assert esp.sas() == []


def test_an_sa_that_is_installed_again_with_its_numbers_goes_on() -> None:
    esp = EspLosses()
    esp.configure({"c": sa(1)})
    for found, lost in ((Replay(100, 100), 0), (Replay(200, 190), 10), (Replay(300, 90), 10), (Replay(400, 185), 15)):
        esp.sas()
        esp.take(sa(1), found)
        assert esp.counts() == {"esp/c/lost": lost}


def test_of_esp_in_user_space_nothing_is_known() -> None:
    esp = EspLosses()
    for spi in range(1, 100):
        assert read(esp, {}, c=sa(spi)) is None
    assert esp.sas() == [sa(99)]


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=300), st.integers(1, 50))
def test_what_comes_late_is_missing_until_then(steps: list[int], every: int) -> None:
    esp, one, next_one = EspLosses(), KernelSa(), KernelSa()
    kernel = {sa(1): one}
    for number in range(1, 65):
        one.arrives(number)
    assert read(esp, kernel, c=sa(1)) == 0
    sent = 64
    for place, step in enumerate(steps):
        one.arrives(max(1, sent + step))
        sent = max(sent, sent + step)
        if place % every == 0:
            read(esp, kernel, c=sa(1))
    expected = set(range(1, one.highest + 1)) - one.received
    assert read(esp, kernel, c=sa(1)) == len(expected)
    kernel[sa(2)] = next_one
    next_one.arrives(3)
    assert read(esp, kernel, c=sa(2)) == len(expected) + 2
    next_one.arrives(1)
    del kernel[sa(1)]
    assert read(esp, kernel, c=sa(2)) == len(expected) + 1

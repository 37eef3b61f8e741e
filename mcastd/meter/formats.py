"""Where known feeds have their sequence numbers. Pure.

From the public descriptions: CME Group, "MDP 3.0 - SBE Technical Headers"; Moscow Exchange, "SIMBA SPECTRA protocol
specification"; Nasdaq, "MoldUDP64 Protocol Specification"; Cboe, "Multicast PITCH Specification" (Sequenced Unit
Header); RFC 3550, section 5.1.
"""

from typing import Final

from mcastd.meter.packet import Field, Sequence

FORMATS: Final = {
    # MsgSeqNum (32 bits) | SendingTime (64 bits); one number for each packet, from 1 every week.
    "cme-mdp3": Sequence(Field(0, 4)),
    # MsgSeqNum (32 bits) | MsgSize (16) | MsgFlags (16) | SendingTime (64); one number for each packet.
    "moex-simba": Sequence(Field(0, 4)),
    # Session (10 bytes) | Sequence Number (64 bits) | Message Count (16); each message has a number. Count 0: a
    # heartbeat with the next number; 0xFFFF: the session ends, likewise.
    "moldudp64": Sequence(Field(10, 8, big=True), Field(18, 2, big=True), end=0xFFFF, session=(0, 10)),
    # Hdr Length (16 bits) | Hdr Count (8) | Hdr Unit (8) | Hdr Sequence (32); each message has a number, for each unit.
    # Count 0: a heartbeat with the next number; number 0: not sequenced.
    "pitch": Sequence(Field(4, 4), Field(2, 1), unit=3, zero_is_unsequenced=True),
    # V P X CC (8 bits) | M PT (8) | sequence number (16) | timestamp (32) | SSRC (32): each has its own.
    "rtp": Sequence(Field(2, 2, big=True), session=(8, 4)),
}
"""By the name that the configuration has."""

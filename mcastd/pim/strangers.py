"""Messages that are not for a leaf (RFC 7761, section 4.9; RFC 3973; RFC 5059): decoded, to be counted by reason."""

from mcastd.errors import DecodeError
from mcastd.pim.bootstrap import decode_candidate_rp
from mcastd.pim.messages import decode_register_stop
from mcastd.pim.packet import MessageType, decode_join_prune


def refuse(kind: int, body: bytes) -> None:
    """Raise the DecodeError that says why a leaf drops the message, malformed ones included.

    A leaf sends no Registers, is no bootstrap router, and does not speak PIM-DM.
    """
    match kind:
        case MessageType.REGISTER_STOP:
            decode_register_stop(body)
            raise DecodeError("register_stop_unasked")
        case MessageType.CANDIDATE_RP_ADVERTISEMENT:
            decode_candidate_rp(body)
            raise DecodeError("not_a_bootstrap_router")
        case MessageType.GRAFT | MessageType.GRAFT_ACK:
            decode_join_prune(body)
            raise DecodeError("dense_mode")
        case MessageType.STATE_REFRESH:
            raise DecodeError("dense_mode")
        case _:
            raise DecodeError("unexpected_type")

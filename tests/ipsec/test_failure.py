"""Reasons from what strongSwan 5.9.8 really logged at each failure."""

import pytest

from mcastd.ipsec.failure import explain, so_far
from tests.ipsec.charons import article, gre, tcp

INIT = [
    "initiating IKE_SA dc[2] to 177.54.214.20",
    "generating IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(REDIR_SUP) ]",
    "sending packet: from 222.45.67.1[500] to 177.54.214.20[500] (462 bytes)",
]
INIT_OK = [
    *INIT,
    "received packet: from 177.54.214.20[500] to 222.45.67.1[500] (470 bytes)",
    "parsed IKE_SA_INIT response 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) N(CHDLESS_SUP) ]",
    "selected proposal: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
    "remote host is behind NAT",
    "authentication of '222.45.67.1' (myself) with pre-shared key",
    "establishing CHILD_SA dc-tun-gre{2}",
    "generating IKE_AUTH request 1 [ IDi IDr AUTH SA TSi TSr N(MULT_AUTH) N(EAP_ONLY) N(MSG_ID_SYN_SUP) ]",
    "sending packet: from 222.45.67.1[4500] to 177.54.214.20[4500] (256 bytes)",
]
AUTH_OK = [
    *INIT_OK,
    "received packet: from 177.54.214.20[4500] to 222.45.67.1[4500] (128 bytes)",
    "authentication of '177.54.214.20' with pre-shared key successful",
    "IKE_SA dc[6] established between 222.45.67.1[222.45.67.1]...177.54.214.20[177.54.214.20]",
]
CREATE_CHILD = [
    "establishing CHILD_SA dc-tun-tcp{7}",
    "generating CREATE_CHILD_SA request 2 [ SA No KE TSi TSr ]",
    "sending packet: from 222.45.67.1[4500] to 177.54.214.20[4500] (608 bytes)",
]
MAIN_MODE = [
    "initiating Main Mode IKE_SA dc[15] to 177.54.214.20",
    "generating ID_PROT request 0 [ SA V V V V V ]",
    "sending packet: from 222.45.67.1[500] to 177.54.214.20[500] (180 bytes)",
    "received packet: from 177.54.214.20[500] to 222.45.67.1[500] (160 bytes)",
]
QUICK_MODE = [
    *MAIN_MODE,
    "generating QUICK_MODE request 2036286741 [ HASH SA No ID ID ]",
    "sending packet: from 222.45.67.1[4500] to 177.54.214.20[4500] (188 bytes)",
    "received packet: from 177.54.214.20[4500] to 222.45.67.1[4500] (92 bytes)",
]
FAILED = "establishing CHILD_SA 'dc-tun-gre' failed"
LATE = "CHILD_SA 'dc-tun-gre' not established after 15000ms"

CASES = {
    "wrong PSK": (
        [*INIT_OK, "parsed IKE_AUTH response 1 [ N(AUTH_FAILED) ]", "received AUTHENTICATION_FAILED notify error"],
        FAILED,
        "AUTHENTICATION_FAILED: the PSK or an identity differs",
        "psk_or_identity",
    ),
    "wrong PSK, IKEv1": (
        [*MAIN_MODE, "invalid HASH_V1 payload length, decryption failed?", "could not decrypt payloads"],
        LATE,
        "AUTHENTICATION_FAILED: the PSK or an identity differs",
        "psk_or_identity",
    ),
    "their PSK is wrong": (
        [*INIT_OK, "tried 1 shared key for '222.45.67.1' - '177.54.214.20', but MAC mismatched"],
        FAILED,
        "authenticates as 177.54.214.20 with a PSK that is not ours",
        "peer_psk",
    ),
    "their identity, IKEv1": (
        [*MAIN_MODE, "parsed ID_PROT response 0 [ ID HASH ]", "IDir '1.1.1.1' does not match to '177.54.214.20'"],
        FAILED,
        "AUTHENTICATION_FAILED: the identity of 177.54.214.20 is not 177.54.214.20: '1.1.1.1'",
        "peer_identity",
    ),
    "IKE proposal": (
        [*INIT, "parsed IKE_SA_INIT response 0 [ N(NO_PROP) ]", "received NO_PROPOSAL_CHOSEN notify error"],
        FAILED,
        "NO_PROPOSAL_CHOSEN: 177.54.214.20 does not accept our IKE proposal: aes256-sha256-modp2048",
        "ike_proposal",
    ),
    "IKE proposal, IKEv1": (
        [*MAIN_MODE, "received NO_PROPOSAL_CHOSEN error notify"],
        FAILED,
        "NO_PROPOSAL_CHOSEN: 177.54.214.20 does not accept our IKE proposal",
        "ike_proposal",
    ),
    "ESP proposal with the IKE_SA": (
        [*AUTH_OK, "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "failed to establish CHILD_SA"],
        FAILED,
        "our ESP proposal of dc-tun-gre: aes256-sha256-modp2048",
        "esp_proposal",
    ),
    "ESP proposal later": (
        [*CREATE_CHILD, "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built"],
        FAILED,
        "our ESP proposal of dc-tun-gre",
        "esp_proposal",
    ),
    "ESP proposal, IKEv1": (
        [*QUICK_MODE, "received NO_PROPOSAL_CHOSEN error notify"],
        FAILED,
        "our ESP proposal",
        "esp_proposal",
    ),
    "selectors": (
        [
            *AUTH_OK,
            "received TS_UNACCEPTABLE notify, no CHILD_SA built",
            "failed to establish CHILD_SA, keeping IKE_SA",
        ],
        FAILED,
        "TS_UNACCEPTABLE: 177.54.214.20 has no child with our traffic selectors: 10.44.6.1/32 (here) and 10.44.7.1/32",
        "traffic_selectors",
    ),
    "no socket": (
        ["unable to resolve 177.54.214.20, initiate aborted"],
        FAILED,
        "no IKE can be sent to 177.54.214.20: there is no route, or another program holds UDP 500 or 4500",
        "ike_not_sent",
    ),
    "selectors, IKEv1": (
        [*QUICK_MODE, "received INVALID_ID_INFORMATION error notify"],
        FAILED,
        "TS_UNACCEPTABLE",
        "traffic_selectors",
    ),
    "no answer": (INIT, LATE, "no answer from 177.54.214.20 on UDP 500/4500", "no_answer"),
    "no answer on 4500": (
        INIT_OK,
        LATE,
        "177.54.214.20 answered on UDP 500, but not to IKE_AUTH: UDP 4500 or fragments are blocked",
        "udp_4500_blocked",
    ),
    "no answer any more": (
        CREATE_CHILD,
        LATE,
        "no answer any more from 177.54.214.20 on the IKE_SA that is up",
        "ike_sa_unanswered",
    ),
    "no local address": (
        [
            *AUTH_OK,
            "error installing route with policy 10.44.6.1/32 === 10.44.7.1/32 out",
            "unable to install IPsec pol",
        ],
        FAILED,
        "no address of this host is inside local_ts 10.44.6.1/32",
        "local_address_missing",
    ),
    "no kernel": (
        [*AUTH_OK, "unable to install inbound and outbound IPsec SA (SAD) in kernel"],
        FAILED,
        "this host cannot install the SA: inbound and outbound IPsec SA (SAD) in kernel",
        "host_cannot",
    ),
    "something else": (
        AUTH_OK,
        FAILED,
        FAILED,
        "attempt_refused",
    ),
    "unloaded": (
        [],
        "CHILD_SA config 'dc-tun-gre' not found",
        "CHILD_SA config 'dc-tun-gre' not found",
        "connection_missing",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reason_in_words(name: str) -> None:
    lines, refusal, reason, code = CASES[name]
    problem = explain(lines, article(), gre(), refusal)
    assert (problem.code, problem.subject) == (code, "dc-tun-gre")
    assert reason in problem.text


def test_silence_is_reported_before_the_attempt_ends() -> None:
    found = [so_far(lines, article(), gre()) for lines in (INIT, INIT_OK, CREATE_CHILD, AUTH_OK, [])]
    assert [problem and problem.code for problem in found] == [
        "no_answer", "udp_4500_blocked", "ike_sa_unanswered", None, None,
    ]  # fmt: skip


def test_a_group_asked_for_in_ike_sa_init_is_not_a_failure_by_itself() -> None:
    lines = [
        *INIT,
        "received packet: from 177.54.214.20[500] to 222.45.67.1[500] (38 bytes)",
        "peer didn't accept DH group MODP_3072, it requested MODP_2048",
        *INIT_OK,
        "received packet: from 177.54.214.20[4500] to 222.45.67.1[4500] (128 bytes)",
        "received TS_UNACCEPTABLE notify, no CHILD_SA built",
    ]
    assert explain(lines, article(), tcp(), FAILED).code == "traffic_selectors"


def test_what_the_peer_says_of_itself_is_shortened() -> None:
    lines = [*AUTH_OK, f"IDir 'CN={'x' * 5000}' does not match to '177.54.214.20'"]
    problem = explain(lines, article(), gre(), FAILED)
    assert problem.code == "peer_identity"
    assert "'CN=xxx" in problem.text
    assert len(problem.text) < 400

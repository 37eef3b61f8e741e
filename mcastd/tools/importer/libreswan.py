"""ipsec.conf in the dialect of libreswan and Openswan, to the words of strongSwan's starter. Pure."""

import re
from typing import Final

from mcastd.config.proposal_words import in_strongswans_words
from mcastd.config.proposals import by_kind
from mcastd.config.strongswan_conf import Value
from mcastd.tools.importer.draft import Notes
from mcastd.tools.importer.ipsecconf import IpsecConf, Section

_SETTINGS: Final = """
    protostack logfile ikev2 phase2 phase2alg salifetime leftsubnets rightsubnets encapsulation nat-ikev1-method
    ipsec-interface vti-interface vti-routing vti-shared initial-contact sha2-truncbug narrowing leftaddresspool
    rightaddresspool nic-offload aggrmode esn overlapip connalias retransmit-timeout ms-dh-downgrade cisco-unity
    remote-peer-type modecfgpull leftxauthclient leftmodecfgclient
"""
_ITS_OWN: Final = frozenset(_SETTINGS.split())
_STRONGSWAN: Final = re.compile("charondebug=.*|(?:ike|esp)=.*!", re.DOTALL)  # that it is not
_IGNORED: Final = (
    "pfs",
    "overlapip",
    "phase2",
    "leftnexthop",
    "rightnexthop",
    "sha2-truncbug",
    "initial-contact",
    "esn",
)
_RENAMED: Final = {
    "phase2alg": "esp",
    "salifetime": "lifetime",
    "keylife": "lifetime",
    "leftsubnets": "leftsubnet",
    "rightsubnets": "rightsubnet",
    "encapsulation": "forceencaps",
    "aggrmode": "aggressive",
}
_WORDS: Final = {
    "auto": {"ondemand": "route", "keep": "add", "up": "start"},
    "dpdaction": {"restart_by_peer": "restart"},
    "authby": {"rsa-sha1": "rsasig", "rsa-sha2": "rsasig", "secret|rsasig": "secret"},
    "forceencaps": {"auto": "no"},
}
_VERSIONS: Final = {
    **dict.fromkeys(("no", "never"), "ikev1"),
    **dict.fromkeys(("yes", "insist", "propose"), "ikev2"),
}
_WORDS_OF_PROPOSALS: Final = (
    (re.compile(r"\bsha2\b(?![-_]\d)"), "sha256"),
    (re.compile(r"(?<=[gc]cm)_[abc]\b|(?<=[gc]cm)_[abc](?=_)"), ""),
    (re.compile(r"[-;+](?:null|none)\b"), ""),  # the integrity of an AEAD
)
_GROUP: Final = re.compile(r"-((?:modp|ecp|curve|x)\d\w*)")


def sign(conf: IpsecConf) -> Value | None:
    """The first setting that only libreswan or Openswan knows; None for a file of strongSwan, whatever it has else."""
    settings = [item for one in (*conf.setup.values(), *conf.conns.values()) for item in one.settings.items()]
    certain = [(key, value) for key, value in settings if key in ("ike", "esp") and re.search("[;+]|_gcm", value.text)]
    if not certain and any(_STRONGSWAN.fullmatch(f"{key}={value.text}") for key, value in settings):
        return None
    signs = (
        value._replace(text=key)
        for key, value in settings
        if key.lower() in _ITS_OWN or (key, value) in certain or value.text in _WORDS.get(key, ())
    )
    return next(signs, None)


def translate(conf: IpsecConf, notes: Notes) -> None:
    """Change the sections to strongSwan's words. What has none stays, and is noted as any setting that is not known."""
    conf.setup.clear()  # settings of its daemon
    for section in conf.conns.values():
        section.settings = _translated(section)
    for name, section in conf.conns.items():
        if name != "%default" and "keyexchange" not in (found := conf.effective(name)) and "auto" in found:
            why = "it is not said: taken as IKEv2; libreswan before version 4 and Openswan use IKEv1 then (version = 1)"
            notes.add(section.where, "ikev2", why)


def _translated(section: Section) -> dict[str, Value]:
    found = {}
    for written, value in section.settings.items():
        key = _RENAMED.get(written.lower(), written.lower())
        text = _WORDS.get(key, {}).get(value.text, value.text)
        if key in _IGNORED or f"{key}={text}" == "keyexchange=ike":
            continue
        if key in ("ike", "esp"):
            text = ",".join(map(_proposal, filter(None, text.split(",")))) + "!"
        elif key in ("leftsubnet", "rightsubnet"):
            text = ",".join(text.strip("{}").replace(",", " ").split())
        elif key == "ikev2":
            key, text = "keyexchange", _VERSIONS.get(text, text)
        elif key in ("vti-interface", "ipsec-interface") and text != "no":
            key, text = "mark", section.settings.get("mark", value).text
        found[key] = value._replace(text=text)
    found.setdefault("reauth", section.where._replace(text="no"))
    if "mark" in section.settings:
        found["mark"] = section.settings["mark"]
    pfs, ike, esp = section.settings.get("pfs"), found.get("ike"), found.get("esp")
    group = _GROUP.search(ike.text) if ike else None  # of phase 1, which is the one for PFS too
    if esp and group and not _GROUP.search(esp.text) and not (pfs and pfs.text == "no"):
        found["esp"] = esp._replace(text=",".join(f"{one}-{group[1]}" for one in esp.text[:-1].split(",")) + "!")
    return found


def _proposal(text: str) -> str:
    """``aes256-sha2;dh14`` as strongSwan writes it, ``aes256-sha256-modp2048``; as it is where a word is unknown."""
    plain = text.strip().rstrip("!").lower()
    for pattern, word in _WORDS_OF_PROPOSALS:
        plain = pattern.sub(word, plain)
    return in_strongswans_words(plain, lambda word: "" not in by_kind(word)) or plain

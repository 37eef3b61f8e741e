"""ipsec.conf in the dialect of libreswan and Openswan, to the words of strongSwan's starter. Pure."""

import re
from typing import Final

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
_STRONGSWAN: Final = re.compile("charondebug=.*|keyexchange=ikev1|(?:ike|esp)=.*!", re.DOTALL)  # that it is not
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
    "authby": {"rsa-sha1": "rsasig", "rsa-sha2": "rsasig"},
    "forceencaps": {"auto": "no"},
}
_VERSIONS: Final = {
    **dict.fromkeys(("no", "never"), "ikev1"),
    **dict.fromkeys(("yes", "insist", "propose"), "ikev2"),
}
_BITS: Final = {1: 768, 2: 1024, 5: 1536, 14: 2048, 15: 3072, 16: 4096, 17: 6144, 18: 8192}
_ALGORITHMS: Final = {
    **{f"dh{number}": f"modp{bits}" for number, bits in _BITS.items()},
    "dh19": "ecp256",
    "dh20": "ecp384",
    "dh21": "ecp521",
    "dh22": "modp1024s160",
    "dh31": "curve25519",
    "sha2": "sha256",
    "sha2_256": "sha256",
    "sha2_384": "sha384",
    "sha2_512": "sha512",
    "chacha20_poly1305": "chacha20poly1305",
}
_GCM: Final = re.compile(r"aes_?gcm(?:_[abc])?_?(128|192|256)?(?:_(?:128|16))?")
_DEFAULT_GROUP: Final = re.compile(r"modp|ecp|curve")


def sign(conf: IpsecConf) -> Value | None:
    """The first setting that only libreswan or Openswan knows; None for a file of strongSwan, whatever it has else."""
    settings = [item for one in (*conf.setup.values(), *conf.conns.values()) for item in one.settings.items()]
    if any(_STRONGSWAN.fullmatch(f"{key}={value.text}") for key, value in settings):
        return None
    for key, value in settings:
        foreign = key.lower() in _ITS_OWN or (key in ("ike", "esp") and re.search("[;+]|_gcm", value.text))
        if foreign or value.text in _WORDS.get(key, ()) or (key == "authby" and "|" in value.text):
            return value._replace(text=key)
    return None


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
        if key in _IGNORED:
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
    if "mark" in section.settings:
        found["mark"] = section.settings["mark"]
    pfs, ike, esp = section.settings.get("pfs"), found.get("ike"), found.get("esp")
    if esp and ike and not (pfs and pfs.text == "no") and not _DEFAULT_GROUP.search(esp.text):
        group = re.search(r"-((?:modp|ecp|curve)\w+)", ike.text)  # the group of phase 1 is the one for PFS
        if group:
            found["esp"] = esp._replace(text=",".join(f"{one}-{group[1]}" for one in esp.text[:-1].split(",")) + "!")
    return found


def _proposal(text: str) -> str:
    """``aes256-sha2;dh14`` as strongSwan writes it: ``aes256-sha256-modp2048``."""
    words = [word for word in re.split(r"[-;+ ]", text.strip().rstrip("!").lower()) if word not in ("", "null")]
    return "-".join(_word(word) for word in words)


def _word(word: str) -> str:
    if match := _GCM.fullmatch(word):
        return f"aes{match[1] or 256}gcm16"
    return _ALGORITHMS.get(word, word.replace("aes_", "aes") if word.startswith("aes_") else word)

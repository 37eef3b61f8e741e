"""``[daemon]``, ``[firewall]``, ``[streams]``, ``[metrics]``, and tables that there are not."""

from tests.config.wrong.mistakes import wrong

WRONG = (
    wrong("daemon.datapath", '"xdp"; allowed: "auto", "kernel" or "userspace"', '"xdp"'),
    wrong("daemon.vici_socket", "is not that; allowed: an absolute path", '"charon.vici"'),
    wrong("daemon.vici_socket", "allowed: an absolute path of at most 107 bytes", f'"/run/{"x" * 110}"'),
    wrong("daemon.runtime_dir", "allowed: an absolute path", '""'),
    wrong("daemon.strongswan_conf", "it is an integer", "5"),
    wrong("daemon.datapth", "did you mean datapath", '"auto"'),
    wrong("daemon.log_level", "there is no such key; allowed: ", '"debug"'),
    wrong("firewall.guard", "it is a string; allowed: true or false", '"on"'),
    wrong("firewall.ip_forward", "it is an integer", "1"),
    wrong("streams.hours[0]", "allowed: hours of the week", '["09:00-17:00"]'),
    wrong("streams.hours[0]", "allowed: hours of the week", '["Mon-Fri 09:00-25:00"]'),
    wrong("streams.hours[0]", "allowed: hours of the week", '["Mon-Fri 09:00-17:00 Mars/Olympus"]'),
    wrong("streams.meter", '"on"; allowed: "auto" or "off"', '"on"'),
    wrong("metrics.listen", "has no port", '"127.0.0.1"'),
    wrong("metrics.listen", "not an IPv4", '":9464"'),
    wrong("metrics.listen", "it is an integer", "9464"),
    wrong("metrics.listen", "has no port", '"127.0.0.1:99999"'),
    wrong("metrics.listen", "224.0.0.1 is no address of a host", '"224.0.0.1:9464"'),
    wrong("metrics.listen", "255.255.255.255 is no address of a host", '"255.255.255.255:9464"'),
    wrong("metrics.streams", '"some"; allowed: "named", "all" or "none"', '"some"'),
    wrong("tunnel", "did you mean tunnels", also={"tunnel.gre9.address": '"10.9.0.1/30"'}),
    wrong("ipsec", "there is no such key; allowed: ", also={"ipsec.debug": "true"}),
)

"""The laboratory: a cloud VM, its 1:1 NAT, a data centre and a source, in network namespaces on one machine.

::

    mcastd-cloud          mcastd-internet              mcastd-dc                  mcastd-source
    10.1.1.246 -- 10.1.1.1  1:1 NAT  177.54.214.1 -- 177.54.214.20
    charon, mcastd        222.45.67.1 is 10.1.1.246    charon, FRR, keepalives
    a receiver                                         100.15.30.253 (RP) ------- 100.15.30.10 (1,000 packets a second)
    192.168.50.1 -- mcastd-client, 192.168.50.2: a machine behind the VM
                                198.51.100.1 -- mcastd-dc2, 198.51.100.20: with two data centres, and mcastd-source2

A *scene* is all of it; a *node* is one of its namespaces. The software is real: strongSwan on both sides, FRR as the
data centre's PIM router, nftables as the NAT. ``scene`` builds and removes it, ``state`` records on disk what was
created, ``show`` prints the output of ``lab run``; ``dcgre``, ``cisco``, ``source`` and ``receiver`` run as separate
processes.
"""

"""The whole scene on one machine: a VM in a cloud, its 1:1 NAT, a data centre and a source, in network namespaces.

::

    mcastd-cloud          mcastd-internet              mcastd-dc                  mcastd-source
    10.1.1.246 -- 10.1.1.1  1:1 NAT  177.54.214.1 -- 177.54.214.20
    charon, mcastd        222.45.67.1 is 10.1.1.246    charon, FRR, keepalives
    a receiver                                         100.15.30.253 (RP) ------- 100.15.30.10 (1,000 packets a second)
    192.168.50.1 -- mcastd-client, 192.168.50.2: a machine behind the VM

The parts are real ones: strongSwan on both sides, FRR as the data centre's PIM router, an nftables NAT between them.
``scene`` builds it and takes it down, ``state`` remembers on disk what is ours, ``show`` is what ``lab run`` prints;
``dcgre``, ``cisco``, ``source`` and ``receiver`` run as processes of their own.
"""

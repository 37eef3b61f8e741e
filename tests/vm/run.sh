#!/bin/bash
# Runs the command of a machine, as its first process or as a service, and leaves the exit status for machine.py, which
# then switches the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
: > /vm/started
# Not loaded on demand, or not early enough.
modprobe -a tun ipv6
ip link set lo up
bash /vm/command </dev/null >>/vm/output 2>&1
echo $? > /vm/status.new
mv /vm/status.new /vm/status
sleep infinity

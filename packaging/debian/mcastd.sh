#!/bin/sh
# SIGHUP would end the daemon while Python starts.
[ "$1" != run ] || trap '' HUP
exec /usr/lib/mcastd/bin/python3 -I -m mcastd "$@"

#!/bin/sh
exec /usr/lib/mcastd/bin/python3 -I -m mcastd "$@"

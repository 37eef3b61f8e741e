"""Thin adapters to the host, one file a facility."""

"""A receiver of an overlay, from the configuration of its head end."""

"""IPsec through charon's VICI socket."""

"""The table of parameters that two sides agree on before they configure anything: rows, and renderers. Pure."""

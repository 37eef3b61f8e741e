"""``mcastd params``: the table of parameters that the two sides agree on before they configure anything. Pure."""

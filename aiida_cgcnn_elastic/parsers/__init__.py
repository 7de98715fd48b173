"""One parser a CalcJob."""

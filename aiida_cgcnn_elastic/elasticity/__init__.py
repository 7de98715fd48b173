"""Elastic moduli and the hardness derived from them."""

"""Crystals as columns: the table's schema, conversions and checks."""

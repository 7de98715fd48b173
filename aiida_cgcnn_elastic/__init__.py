"""Find hard materials: crystal graph networks for elastic moduli, with every step in AiiDA's provenance graph."""

__version__ = '0.1.0'

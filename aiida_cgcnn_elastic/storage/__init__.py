"""Bulk writing: the one room that talks to AiiDA's storage backend."""

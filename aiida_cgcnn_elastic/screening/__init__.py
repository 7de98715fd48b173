"""Criteria, filters, flags and ranking: pure functions of a table."""

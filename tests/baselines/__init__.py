"""Tests of the regressors other than networks."""

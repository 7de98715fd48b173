"""Regressors other than networks: gradient boosting on statistics of structure and composition."""

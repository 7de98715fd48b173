"""Tests of crystals."""

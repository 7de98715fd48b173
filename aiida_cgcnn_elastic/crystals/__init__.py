"""Crystals as columns: the table's schema, conversions and checks."""

from __future__ import annotations

from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.table import CrystalArrays, CrystalTable

__all__ = ['Crystal', 'CrystalArrays', 'CrystalTable', 'Reason', 'Rejection']

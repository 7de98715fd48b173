"""Bulk writing and reading: the one room that talks to AiiDA's storage backend."""

from __future__ import annotations

from aiida_cgcnn_elastic.storage.bulk import NewNode, add_to_group, finish_interrupted, replace_members, store_outputs
from aiida_cgcnn_elastic.storage.links import creators

__all__ = ['NewNode', 'add_to_group', 'creators', 'finish_interrupted', 'replace_members', 'store_outputs']

"""Crystals that occur in more than one set of a screening."""

from __future__ import annotations

from collections.abc import Mapping

from aiida.engine import calcfunction

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

__all__ = ('drop_duplicates', 'has_duplicates')


def has_duplicates(crystals: Mapping[str, CrystalSetData]) -> bool:
    """Return whether a material id occurs in more than one of the sets."""
    if len(crystals) == 1:
        return False
    seen: set[str] = set()
    for node in crystals.values():
        ids = node.get_material_ids()
        if not seen.isdisjoint(ids):
            return True
        seen.update(ids)
    return False


@calcfunction
def drop_duplicates(**crystals: CrystalSetData) -> dict[str, CrystalSetData]:
    """Return the sets in which a material id occurs again, each without those crystals.

    The first set that has an id keeps it, in alphabetical order of the keys. The crystals that are dropped are among
    the new set's rejections, with the reason `duplicate_id`, so that every crystal stays accounted for.
    """
    import numpy as np

    from aiida_cgcnn_elastic.crystals.crystal import Reason, Rejection

    keeper: dict[str, str] = {}
    reduced = {}
    for key in sorted(crystals):
        node = crystals[key]
        table = node.get_table()
        ids = table.material_ids
        again = [material_id in keeper for material_id in ids]
        if any(again):
            rejections = [
                Rejection(material_id, Reason.DUPLICATE_ID, f'the set {keeper[material_id]} has this id too')
                for material_id, dropped in zip(ids, again, strict=True)
                if dropped
            ]
            reduced[key] = CrystalSetData.from_table(
                table.select(np.flatnonzero(~np.array(again))), node.origin, [*node.get_rejections(), *rejections]
            )
        for material_id in ids:
            keeper.setdefault(material_id, key)
    return reduced

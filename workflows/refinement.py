"""From the first stage of a screening to the second: which crystals are predicted again."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

__all__ = ('choose_for_refinement',)


@calcfunction
def choose_for_refinement(criteria: orm.Dict, cut: orm.Dict, **sets: Any) -> dict[str, Any]:
    """Return the crystals above a cut, as one set for each set that has some, and why the others are not.

    :param criteria: The criteria, whose law of hardness counts.
    :param cut: What a crystal must have to be predicted again; see :class:`aiida_cgcnn_elastic.screening.Cut`.
    :param sets: The namespaces ``crystals`` (of CrystalSetData, without ids that occur twice) and ``predictions`` (of
        PredictionSetData).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from aiida_cgcnn_elastic.screening import Criteria, Cut, apply_cut

    law = Criteria.from_dict(criteria.get_dict()).hardness_law
    checked = Cut.from_dict(cut.get_dict())
    names = ['material_id', 'log10_k_vrh', 'log10_g_vrh']
    table = pa.concat_tables([node.get_table().select(names) for _, node in sorted(sets['predictions'].items())])
    result = apply_cut(table, checked, law)
    ids = pc.take(table.column('material_id'), pa.array(result.rows)).combine_chunks()

    chosen = {}
    for key, node in sorted(sets['crystals'].items()):
        crystals = node.get_table()
        is_chosen = pc.is_in(crystals.arrow.column('material_id'), value_set=ids).to_numpy()
        if is_chosen.any():
            # What was skipped or rejected on the way to the whole set is accounted for there.
            origin = {**node.origin, 'skipped_by_reason': {}}
            chosen[key] = CrystalSetData.from_table(crystals.select(is_chosen), origin)
    n_chosen = sum(node.n_crystals for node in chosen.values())
    if n_chosen != len(result.rows):
        raise RuntimeError(f'{len(result.rows)} predictions are above the cut, but {n_chosen} crystals are theirs')
    hardness = result.hardness[result.rows]
    choice = {
        'cut': checked.to_dict(),
        'hardness_law': law,
        'n_predictions': table.num_rows,
        'n_chosen': n_chosen,
        'not_chosen': result.not_chosen,
        'largest_hardness': float(hardness[0]) if n_chosen else None,
        'smallest_hardness': float(hardness[-1]) if n_chosen else None,
    }
    return {'choice': orm.Dict(choice), 'crystals': chosen}

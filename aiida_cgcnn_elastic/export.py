"""Write results into files: tables of any length page by page, and archives of candidates with their provenance."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida.common.links import LinkType
from aiida.orm import CalcFunctionNode, CalcJobNode, Data, Group, Node, ProcessNode, QueryBuilder, StructureData

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.ingest import IngestCalculation
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.groups import CandidatesGroup

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ('export_candidates', 'export_predictions', 'write_archive')

RECORDS = 'data.cgcnn\\_elastic.elastic\\_prediction.%'
FORMATS = ('.csv', '.parquet')
TEXT = ('material_id', 'formula', 'model', 'model_content', 'source', 'novelty_reason', 'duplicate_of', 'uuid')


def export_predictions(path: Path, **selection: Any) -> int:
    """Write recorded predictions as CSV or Parquet, as the file's name ends; return how many.

    They are written page by page, in the order in which they were recorded: memory does not grow with their number.

    Parameters
    ----------
    path : Path
        Ends in ``.csv`` or ``.parquet``.
    **selection
        What `query.iter_predictions` takes.

    Raises
    ------
    ValueError
        If the file's name ends otherwise, or as `query.iter_predictions`.
    """
    return _write(path, query.iter_predictions(**selection), _all_columns(selection.get('columns')))


def export_candidates(path: Path, **selection: Any) -> int:
    """Write candidates, best first, as `export_predictions` writes; what is selected, as `query.candidates` does."""
    return _write(path, iter([query.candidates(**selection)]), None)


def write_archive(path: Path, screening: str, *, limit: int | None = None, source_files: bool = False) -> int:
    """Write an AiiDA archive of candidates with their provenance; return how many candidates are chosen.

    It holds the candidates, their predictions, the process that flagged them and all that it took: prediction sets, the
    jobs that made them, models, and sets of crystals, and of these what they were made from in their turn. It does not
    hold the records of all the other predictions, which AiiDA's own export of a candidate would take along, nor the
    files that the crystals were read from, unless asked for.

    Parameters
    ----------
    path : Path
        A file that does not exist yet.
    screening : str
        The label of a screening or of a set of candidates.
    limit : int, optional
        Only so many of the best are in the archive's group, whose label says so. All that were flagged with them come
        along, as the outputs of one process.
    source_files : bool
        Whether to add the jobs that read the crystals, with the files that they read.

    Raises
    ------
    ValueError
        If there is no such screening, or it has no candidates.
    """
    from aiida.tools.archive import create_archive

    chosen = query.candidates(screening, limit=limit)
    if chosen.empty:
        raise ValueError(f'the screening {screening!r} has no candidates')
    nodes = QueryBuilder().append(StructureData, filters={'id': {'in': chosen['structure_pk'].tolist()}}).all(flat=True)
    flagging = nodes[0].creator
    processes: dict[int, Node] = {flagging.pk: flagging}
    frontier = [flagging]
    while frontier:
        frontier = [
            process
            for process in _creators_of_inputs(frontier)
            if process.pk not in processes and (source_files or process.process_class is not IngestCalculation)
        ]
        processes |= {process.pk: process for process in frontier}
    with _group_of(screening, nodes if limit is not None else None) as group:
        # The creators are given one by one: followed by AiiDA, those of the records would bring along all others.
        create_archive(
            [*processes.values(), *nodes, group],
            filename=path,
            create_backward=False,
            return_backward=False,
            call_calc_backward=False,
        )
    return len(chosen)


@contextlib.contextmanager
def _group_of(screening: str, best: Sequence[Node] | None) -> Iterator[Group]:
    """Give the group of a screening's candidates; of some of the best, one that is there only as long as it is used."""
    if best is None:
        yield query.find_group(CandidatesGroup, screening)
        return
    group, _ = CandidatesGroup.collection.get_or_create(label=f'{screening} (best {len(best)})')
    try:
        group.clear()  # of what an export that was killed has left
        group.add_nodes(list(best))
        yield group
    finally:
        CandidatesGroup.collection.delete(group.pk)


def _creators_of_inputs(processes: Sequence[Node]) -> list[Node]:
    """Return the processes that made what others took, but for records, of which each process has thousands."""
    made: dict[int, Node] = {}
    for kind in (CalcFunctionNode, CalcJobNode):
        query_of = QueryBuilder()
        query_of.append(ProcessNode, filters={'id': {'in': [process.pk for process in processes]}}, tag='process')
        query_of.append(
            Data,
            with_outgoing='process',
            filters={'node_type': {'!like': RECORDS}},
            edge_filters={'type': LinkType.INPUT_CALC.value},
            tag='input',
        )
        query_of.append(kind, with_outgoing='input', edge_filters={'type': LinkType.CREATE.value}, project='*')
        made |= {process.pk: process for process in query_of.all(flat=True)}
    return list(made.values())


def _all_columns(wanted: Sequence[str] | None) -> list[str]:
    """Return the columns that recorded predictions may have: what is asked for, else those of all prediction sets."""
    if wanted is not None:
        return list(wanted)
    sets = QueryBuilder().append(PredictionSetData, project='attributes.columns').all(flat=True)
    names = dict.fromkeys(name for columns in sets for name in columns)
    return [*names, 'model', 'model_content', 'source', 'uuid', 'pk']


def _write(path: Path, pages: Iterator[pd.DataFrame], columns: Sequence[str] | None) -> int:
    """Write pages below each other, all with the same columns (those of the first where none are given)."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() not in FORMATS:
        raise ValueError(f'{path} must end in {" or ".join(FORMATS)}')
    n_rows = 0
    schema: pa.Schema | None = None
    writer: Any = None
    first = next(pages, None)
    if first is None:
        first = pd.DataFrame(columns=list(columns or ()))
    # Under another name until it is whole: an error leaves what was there before.
    part = path.with_name(f'{path.name}.part')
    with _named_when_whole(part, path), part.open('wb') as handle:
        try:
            for page in itertools.chain([first], pages):
                names = list(page.columns) if columns is None else list(columns)
                page = page.reindex(columns=names)
                if path.suffix.lower() == '.csv':
                    if 'elements' in page:
                        page['elements'] = page['elements'].map(' '.join, na_action='ignore')
                    page.to_csv(handle, index=False, header=n_rows == 0, lineterminator='\n')
                else:
                    schema = schema or _schema(page)
                    writer = writer or pq.ParquetWriter(handle, schema, compression='zstd')
                    writer.write_table(pa.Table.from_pandas(page, schema=schema, preserve_index=False))
                n_rows += len(page)
        finally:
            if writer is not None:
                writer.close()
    return n_rows


@contextlib.contextmanager
def _named_when_whole(part: Path, path: Path) -> Iterator[None]:
    """Give a file its name if all went well, else remove it."""
    try:
        yield
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


def _schema(page: pd.DataFrame) -> pa.Schema:
    """Return the types of columns: real numbers, unless a column's name or values tell otherwise."""
    import pyarrow as pa

    from aiida_cgcnn_elastic.crystals.table import PROPERTY_TYPES

    fields = []
    for name in page.columns:
        kind = pa.string() if name in TEXT else PROPERTY_TYPES.get(name)
        if kind is None:
            kind = pa.array(page[name].dropna().tolist()).type
            kind = pa.float64() if pa.types.is_null(kind) else kind
        fields.append(pa.field(name, kind))
    return pa.schema(fields)

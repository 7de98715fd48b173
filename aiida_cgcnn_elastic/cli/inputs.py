"""From what a person names (paths, a model, a file of criteria) to the nodes that processes take."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from aiida import orm
    from aiida.engine import ProcessBuilder

    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('all_cores', 'check_potential', 'find_model', 'ingest_builder', 'read_criteria', 'stored_once')


def ingest_builder(
    code: orm.AbstractCode, paths: Sequence[Path], source: str | None = None, options: Mapping[str, Any] | None = None
) -> ProcessBuilder:
    """Return a builder of the job that reads crystals.

    Parameters
    ----------
    code
        The code of the executable `cgcnn-elastic`.
    paths
        Files and folders of the source; none for a source that makes its crystals itself.
    source
        Name of the source; it is found out from the files if not given.
    options
        Options of the source.
    """
    from aiida import orm

    from aiida_cgcnn_elastic.calculations.ingest import IngestCalculation

    files: dict[str, orm.Data] = {}
    for number, path in enumerate(paths):
        path = path.absolute()
        node = orm.FolderData(tree=path) if path.is_dir() else orm.SinglefileData(path)
        node.label = path.name
        files[f'file_{number:02d}'] = stored_once(node)

    parameters: dict[str, Any] = {}
    if source is not None:
        parameters['source'] = source
    if options:
        parameters['options'] = dict(options)

    builder = IngestCalculation.get_builder()
    builder.code = code
    builder.files = files
    builder.parameters = orm.Dict(parameters)
    builder.metadata.options = all_cores()
    return builder


def stored_once(node: orm.Data) -> orm.Data:
    """Return a stored node of equal content if there is one; store this one otherwise."""
    from aiida import orm
    from aiida.common.hashing import make_hash

    # `compute_hash` does this too, but refuses to for a node that is not stored.
    content = make_hash(node.base.caching.get_objects_to_hash())
    found = (
        orm.QueryBuilder()
        .append(type(node), filters={f'extras.{node.base.caching._HASH_EXTRA_KEY}': content}, subclassing=False)
        .first(flat=True)
    )
    return found or node.store()


def find_model(name: str) -> ElasticModelData:
    """Return a shipped model as stored node, or the model node of that label, PK or UUID.

    Of several models with the label the oldest is returned if they are the same, as caching makes them.

    Raises
    ------
    ValueError
        If there is neither, the message lists the shipped models; or if several models have the label.
    """
    from aiida import orm
    from aiida.common.exceptions import MultipleObjectsError, NotExistent

    from aiida_cgcnn_elastic import pretrained
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

    if name in pretrained.available():
        node = ElasticModelData.from_pretrained(name)
        return node.find_stored() or node.store()
    try:
        node = orm.load_node(name)
    except (MultipleObjectsError, NotExistent) as error:
        query = orm.QueryBuilder().append(ElasticModelData, filters={'label': name})
        labelled = query.order_by({ElasticModelData: {'id': 'asc'}}).all(flat=True)
        if len({model.content_sha256 for model in labelled}) == 1:
            return labelled[0]
        if labelled:
            pks = ', '.join(str(model.pk) for model in labelled)
            raise ValueError(f'several models have the label {name!r}; give the PK of one: {pks}') from None
        raise ValueError(
            f'no model {name!r}: shipped are {", ".join(pretrained.available()) or "none"}; and as node: {error}'
        ) from None
    if not isinstance(node, ElasticModelData):
        raise ValueError(f'node {name} is no model but a {node.__class__.__name__}')
    return node


def check_potential() -> None:
    """Raise where the potential that a second stage needs is not installed, before a first stage has run in vain.

    Raises
    ------
    ValueError
        Saying how to install it.
    """
    if any(importlib.util.find_spec(package) is None for package in ('sevenn', 'phonopy')):
        raise ValueError(
            'a second stage on this machine needs the extra `refine`: in the folder of the project, '
            "pip install -c constraints.txt -e '.[refine]'"
        )


def read_criteria(path: Path) -> dict[str, Any]:
    """Return the criteria in a JSON or YAML file, checked.

    Raises
    ------
    CriteriaError
        If they are not valid; the message names the file and says what is allowed.
    """
    from aiida_cgcnn_elastic.screening import Criteria, CriteriaError

    try:
        criteria = yaml.safe_load(path.read_text(encoding='utf-8'))
        Criteria.from_dict(criteria)
    except yaml.YAMLError as error:
        why = ' '.join(str(error).split())
        raise CriteriaError(f'the criteria in {path} are neither JSON nor YAML: {why}') from error
    except (CriteriaError, UnicodeDecodeError) as error:
        raise CriteriaError(f'the criteria in {path}: {error}') from error
    return criteria


def all_cores() -> dict[str, Any]:
    """Return the options of a job that uses every core that this process may use, on this machine."""
    return {
        'resources': {
            'num_machines': 1,
            'num_mpiprocs_per_machine': 1,
            'num_cores_per_mpiproc': len(os.sched_getaffinity(0)),
        }
    }

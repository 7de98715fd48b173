"""The job that reads crystals from a source's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.common.links import LinkType
from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, FolderData, ProcessNode, RemoteData, SinglefileData

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation, check_keys, write_json
from aiida_cgcnn_elastic.calculations.predict import filters_of, validate_criteria
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

__all__ = ('IngestCalculation',)

DIRECTORY = 'files'

KEYS = ('api_key', 'MP_API_KEY', 'PMG_MAPI_KEY')
"""What keys of databases are called. They are read where the job runs, and must not be in what is stored of it."""

WHERE_KEYS_BELONG = (
    'it would be kept in the database and in the script of the job. Put it where the job runs: into '
    '~/.config/.pmgrc.yaml (as PMG_MAPI_KEY), or export it in the profile of the shell (as MP_API_KEY)'
)


class IngestCalculation(RunnerCalculation):
    """Read crystals from the files of a source, reject the unusable ones with reasons, pack the rest in one node."""

    SUBCOMMAND = 'ingest'
    OUTPUTS = (CrystalSetData.FILE_CRYSTALS, CrystalSetData.FILE_REJECTIONS)
    FILE_CRITERIA = 'criteria.json'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports."""
        super().define(spec)
        spec.input_namespace(
            'files',
            valid_type=(SinglefileData, FolderData, RemoteData),
            dynamic=True,
            required=False,
            validator=validate_files,
            help='The files of the source, each under a key of choice, read in the order of the keys. A file keeps '
            'its name and a folder gets that of its key. A RemoteData is a file or folder on the computer of the '
            'code, read where it is. None for a source that makes its crystals itself or downloads them.',
        )
        spec.input(
            'parameters',
            valid_type=Dict,
            required=False,
            validator=validate_parameters,
            help='`source`: name of the source (found out from the files where absent); `options`: its options.',
        )
        spec.input(
            'criteria',
            valid_type=Dict,
            required=False,
            validator=validate_criteria,
            help='Criteria of a screening; crystals that their filters exclude are skipped and counted by reason, '
            'before they are parsed (or downloaded) where the source knows enough of them.',
        )
        base_validator = spec.inputs.validator
        spec.inputs.validator = lambda inputs, port: base_validator(inputs, port) or validate_no_key(inputs)
        spec.output('crystals', valid_type=CrystalSetData, help='The usable crystals, and those rejected with reasons.')

    @classmethod
    def is_valid_cache(cls, node: ProcessNode) -> bool:
        """Return whether a job may stand in for an equal one: not where what it read may have changed since.

        What lies on a computer is named by its path only, what is downloaded by its address, and what a source makes
        itself depends on what is installed.
        """
        if not super().is_valid_cache(node):
            return False
        inputs = node.base.links.get_incoming(link_type=LinkType.INPUT_CALC)
        if any(isinstance(link.node, RemoteData) for link in inputs):
            return False
        if any(link.link_label.startswith('files__') for link in inputs):
            return True
        parameters = next(link.node.get_dict() for link in inputs if link.link_label == 'parameters')
        from aiida_cgcnn_elastic.crystals.sources import SourceError, open_source

        try:
            source = open_source((), parameters['source'], **parameters.get('options', {}))
        except SourceError:
            # It may be installed with the executable only, so here nothing is known of it.
            return False
        if source.is_online:
            return False
        made_from = source.origin().to_dict()
        recorded = node.outputs.crystals.origin
        return all(made_from[key] == recorded[key] for key in ('version', 'files'))

    def stage(self, folder: Folder, calc_info: CalcInfo) -> list[str]:
        """Put the files into one folder, so that those that belong together find each other."""
        parameters = self.parameters()
        arguments: list[str] = []
        for key, node in sorted(self.inputs.get('files', {}).items()):
            path = f'{DIRECTORY}/{staged_name(key, node)}'
            if isinstance(node, RemoteData):
                calc_info.remote_symlink_list.append((node.computer.uuid, node.get_remote_path(), path))
            elif isinstance(node, SinglefileData):
                calc_info.local_copy_list.append((node.uuid, node.filename, path))
            else:
                calc_info.local_copy_list.append((node.uuid, '.', path))
            arguments.append(path)
        if 'source' in parameters:
            arguments += ['--source', parameters['source']]
        for option, value in sorted(parameters.get('options', {}).items()):
            arguments += ['--option', f'{option}={json.dumps(value)}']
        if 'criteria' in self.inputs:
            write_json(folder, self.FILE_CRITERIA, filters_of(self.inputs.criteria))
            arguments += ['--criteria', self.FILE_CRITERIA]
        crystals, rejections = self.OUTPUTS
        return [*arguments, '--output', crystals, '--rejections', rejections]


def staged_name(key: str, node: SinglefileData | FolderData | RemoteData) -> str:
    """Return the name that a file or folder has in the job's folder; sources look at names."""
    if isinstance(node, SinglefileData):
        return node.filename
    if isinstance(node, RemoteData):
        return PurePosixPath(node.get_remote_path()).name
    return key


def validate_files(files: dict[str, Any], _: Any) -> str | None:
    """Return what is wrong with the files, None where nothing is."""
    names = [staged_name(key, node) for key, node in files.items()]
    twice = sorted({name for name in names if names.count(name) > 1})
    return f'several files are named {twice}; a source could not tell them apart' if twice else None


def validate_parameters(value: Dict | None, _: Any) -> str | None:
    """Return what is wrong with the parameters, None where nothing is."""
    if value is None:
        return None
    parameters = value.get_dict()
    if message := check_keys(parameters, ('source', 'options')):
        return message
    if not isinstance(parameters.get('source', ''), str):
        return f'`source` must be the name of a source, not {parameters["source"]!r}'
    if not isinstance(parameters.get('options', {}), dict):
        return f'`options` must be a dictionary, not {parameters["options"]!r}'
    if odd := [name for name in parameters.get('options', {}) if not name or '=' in name]:
        return f'no option of a source can be called {odd[0]!r}'
    if keys := [name for name in parameters.get('options', {}) if name in KEYS]:
        return f'{keys[0]!r} is no option: {WHERE_KEYS_BELONG}'
    return None


def validate_no_key(inputs: Mapping[str, Any]) -> str | None:
    """Return where a key would be written down with the job or into its script, None where none would."""
    options = inputs.get('metadata', {}).get('options', {})
    code = inputs.get('code')
    texts = {
        'environment_variables': str(options.get('environment_variables', '')),
        'prepend_text': options.get('prepend_text', ''),
        "the code's prepend_text": code.prepend_text if code is not None else '',
        "the computer's prepend_text": code.computer.get_prepend_text() if code is not None and code.computer else '',
    }
    for where, text in texts.items():
        if keys := [key for key in KEYS if key in text]:
            return f'{keys[0]} does not belong into {where}: {WHERE_KEYS_BELONG}'
    return None

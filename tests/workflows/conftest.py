"""Crystals and codes for the work chains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aiida import orm

from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.setup import find_executable, setup_localhost
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData


@pytest.fixture(scope='module')
def profile(aiida_profile):
    """Return the test profile, empty, for all the tests of a module."""
    aiida_profile.reset_storage()
    return aiida_profile


@pytest.fixture(scope='module')
def code(profile) -> orm.InstalledCode:
    """Return the code of this environment, set up as a user sets it up."""
    return setup_localhost().code


@pytest.fixture(scope='module')
def faulty_code(code, tmp_path_factory) -> Callable[..., orm.InstalledCode]:
    """Return a factory of codes whose executable breaks without a word in its first calls, then works.

    Signature: ``(label: str, faults: int) -> InstalledCode``.
    """

    def factory(label: str, faults: int) -> orm.InstalledCode:
        folder: Path = tmp_path_factory.mktemp(label)
        lines = [f'mkdir {folder}/fault_{number} 2>/dev/null && exit 1' for number in range(faults)]
        script = folder / 'cgcnn-elastic'
        script.write_text('\n'.join(['#!/bin/sh', *lines, f'exec {find_executable()} "$@"', '']))
        script.chmod(0o755)
        return orm.InstalledCode(label=label, computer=code.computer, filepath_executable=str(script)).store()

    return factory


@pytest.fixture(scope='module')
def make_set(profile, crystals) -> Callable[..., CrystalSetData]:
    """Return a factory of stored sets of the well-known crystals, or of those named.

    Signature: ``(*names: str) -> CrystalSetData``.
    """

    def factory(*names: str) -> CrystalSetData:
        chosen = [crystal for crystal in crystals if not names or crystal.material_id in names]
        return CrystalSetData.from_table(CrystalTable.from_crystals(chosen)).store()

    return factory


@pytest.fixture(scope='module')
def model(profile) -> ElasticModelData:
    """Return the shipped model as node."""
    return find_model('paper')

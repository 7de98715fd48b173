"""Crystals and codes for the work chains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from aiida import orm

from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.setup import find_executable, setup_localhost
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

ROCKSALT = [[0, 0, 0], [0.5, 0.5, 0.5]]
ZINCBLENDE = [[0, 0, 0], [0.25, 0.25, 0.25]]
# Material id, lattice constant of the cubic cell in Angstrom, atomic numbers, positions in the primitive cell.
CUBIC = (
    ('diamond', 3.567, (6, 6), ZINCBLENDE),
    ('c-BN', 3.615, (5, 7), ZINCBLENDE),
    ('3C-SiC', 4.360, (14, 6), ZINCBLENDE),
    ('Si', 5.431, (14, 14), ZINCBLENDE),
    ('NaCl', 5.640, (11, 17), ROCKSALT),
    ('KBr', 6.600, (19, 35), ROCKSALT),
    ('TiC', 4.328, (22, 6), ROCKSALT),
    ('MgO', 4.212, (12, 8), ROCKSALT),
    ('ThC', 5.346, (90, 6), ROCKSALT),
)


def crystals(names: tuple[str, ...]) -> list[Crystal]:
    """Return the crystals of these names, or all, in their primitive cells; thorium carbide is radioactive."""
    return [
        Crystal(
            name,
            np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * constant,
            np.array(numbers, dtype=np.uint8),
            np.array(positions, dtype=float),
            {},
        )
        for name, constant, numbers, positions in CUBIC
        if not names or name in names
    ]


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
def make_set(profile) -> Callable[..., CrystalSetData]:
    """Return a factory of stored sets of the well-known crystals, or of those named.

    Signature: ``(*names: str) -> CrystalSetData``.
    """

    def factory(*names: str) -> CrystalSetData:
        return CrystalSetData.from_table(CrystalTable.from_crystals(crystals(names))).store()

    return factory


@pytest.fixture(scope='module')
def model(profile) -> ElasticModelData:
    """Return the shipped model as node."""
    return find_model('paper')

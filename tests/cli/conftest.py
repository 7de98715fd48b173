"""One screening for all tests of the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.cli.main import main
from aiida_cgcnn_elastic.cli.setup import setup_localhost
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain


@pytest.fixture(scope='module')
def cli() -> Callable[..., Result]:
    """Return a function that runs `aiida-cgcnn-elastic` in this interpreter: ``(*arguments: object) -> Result``."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope='module')
def profile(aiida_profile):
    """Return the test profile, empty, for all the tests of a module."""
    aiida_profile.reset_storage()
    return aiida_profile


@pytest.fixture(scope='module')
def screening(profile, crystal_table):
    """Return a finished screening of the well-known crystals, under the label `cubic`."""
    builder = ScreenWorkChain.get_builder_from_protocol(
        setup_localhost().code,
        {'cubic': CrystalSetData.from_table(crystal_table).store()},
        {'paper': find_model('paper')},
        'cubic',
    )
    process = launch(builder)
    assert process.is_finished_ok, process.exit_message
    return process

"""Which work folders are cleaned."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.orm.nodes.caching import NodeCaching
from plumpy.base.utils import call_with_super_check

from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain


@pytest.fixture
def add_job(code, tmp_path):
    """Return a factory of jobs of a process with a file in their work folder: ``(parent, name, **) -> Path``."""

    def factory(parent: orm.WorkChainNode, name: str, *, folder: str | None, cached: bool = False):
        job = orm.CalcJobNode(computer=code.computer)
        job.base.links.add_incoming(parent, LinkType.CALL_CALC, name)
        job.store()
        if cached:
            job.base.extras.set(NodeCaching.CACHED_FROM_KEY, 'uuid of another')
        if folder is None:
            return None
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        (path / 'file').touch()
        remote = orm.RemoteData(remote_path=str(path), computer=code.computer)
        remote.base.links.add_incoming(job, LinkType.CREATE, 'remote_folder')
        remote.store()
        return path / 'file'

    return factory


@pytest.mark.parametrize('clean', [True, False])
def test_folders_of_cached_jobs_belong_to_others(code, make_set, model, add_job, clean):
    overrides = {'clean_workdir': clean}
    builder = PredictWorkChain.get_builder_from_protocol(code, make_set('Si'), {'paper': model}, overrides=overrides)
    process = instantiate_process(get_manager().get_runner(), builder)
    own = add_job(process.node, 'iteration_01', folder='own')
    shared = add_job(process.node, 'iteration_02', folder='shared', cached=True)
    add_job(process.node, 'iteration_03', folder=None)
    call_with_super_check(process.on_terminated)
    assert own.exists() is not clean
    assert shared.exists()

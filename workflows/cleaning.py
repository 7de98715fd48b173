"""Cleaning the work folders of jobs."""

from __future__ import annotations

from aiida import orm

__all__ = ('clean_work_folders',)


def clean_work_folders(process: orm.WorkChainNode) -> list[int]:
    """Clean the work folders of the jobs that were run for a process, and return the PKs of these jobs.

    A job from the cache shares the folder of the job that it was taken from, which is not touched. One that a killed
    daemon has made but never begun has no folder.
    """
    cleaned = []
    for node in process.called_descendants:
        if (
            isinstance(node, orm.CalcJobNode)
            and 'remote_folder' in node.outputs
            and not node.base.caching.is_created_from_cache
        ):
            node.outputs.remote_folder._clean()
            cleaned.append(node.pk)
    return cleaned

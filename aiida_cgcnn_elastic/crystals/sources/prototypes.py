"""The embedded source: hypothetical crystals made from known prototypes, and well-known crystals as controls."""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from aiida_cgcnn_elastic.crystals.sources import controls as literature
from aiida_cgcnn_elastic.crystals.sources import substitution
from aiida_cgcnn_elastic.crystals.sources.base import Batch, Origin, Source, SourceError, describe_file
from aiida_cgcnn_elastic.crystals.table import CrystalTable

__all__ = ['PrototypesSource']

CRYSTALS_AT_ONCE = 100

CITATIONS = (
    'prototypes: M. J. Mehl et al., Comput. Mater. Sci. 136, S1 (2017)',
    'substitution: G. Hautier et al., Inorg. Chem. 50, 656 (2011)',
    'chemical scale: D. G. Pettifor, Solid State Commun. 51, 31 (1984)',
    'volumes: I.-H. Chu et al., Comput. Mater. Sci. 146, 184 (2018)',
    'software: S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013)',
)


class PrototypesSource(Source):
    """Crystals that need no file: the same ones wherever and whenever they are made.

    Hypothetical crystals have the properties ``space_group_number`` and ``prototype``. Their ids say how they were
    made: ``proto-AlB2-hP3-191-Ti-Si`` is AlB2 (Pearson symbol hP3, space group 191) with Ti for Al and Si for B; see
    :mod:`~aiida_cgcnn_elastic.crystals.sources.substitution`. Controls (``control-diamond``) come first and have
    ``space_group_number``, ``name`` and ``control``, which is ``hard``, ``soft`` or ``layered``.

    Parameters
    ----------
    paths : sequence of Path
        None: nothing is read.
    n_crystals : int
        How many hypothetical crystals to make. Fewer are the first of more.
    seed : int
        Which substitutions are drawn.
    controls : bool
        Whether the controls come along.

    Raises
    ------
    SourceError
        If there are paths, or an option has no sensible value.
    """

    name: ClassVar[str] = 'prototypes'
    licence: ClassVar[str | None] = 'MIT (data files of pymatgen)'
    citation: ClassVar[str | None] = '; '.join(CITATIONS)
    needs_path: ClassVar[bool] = False

    def __init__(
        self, paths: Sequence[Path] = (), *, n_crystals: int = 1000, seed: int = 0, controls: bool = True
    ) -> None:
        super().__init__(paths)
        if self.paths:
            raise SourceError(f'the source {self.name!r} reads no files; it was given {self.paths[0]}')
        for option, value in (('n_crystals', n_crystals), ('seed', seed)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise SourceError(f'{option} of the source {self.name!r} must be a whole number from 0, not {value!r}')
        if not isinstance(controls, bool):
            raise SourceError(f'controls of the source {self.name!r} must be true or false, not {controls!r}')
        if not n_crystals and not controls:
            raise SourceError(f'the source {self.name!r} makes nothing with n_crystals=0 and controls=False')
        self.n_crystals = n_crystals
        self.seed = seed
        self.controls = controls

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:  # noqa: ARG003
        """No path is this source's."""
        return False

    @property
    def n_expected(self) -> int:
        """How many crystals there will be."""
        return self.n_crystals + (len(literature.controls()) if self.controls else 0)

    def batches(self) -> Iterator[Batch]:
        """Make the controls, then the hypothetical crystals.

        Raises
        ------
        SourceError
            If fewer crystals can be made than were asked for.
        """
        known = [control.crystal() for control in literature.controls()]
        if self.controls:
            yield Batch(CrystalTable.from_crystals(known))
        # The controls are kept out also where they do not come along, so that the option changes nothing else.
        crystals = itertools.islice(substitution.hypothetical_crystals(self.seed, known), self.n_crystals)
        made = 0
        while part := list(itertools.islice(crystals, CRYSTALS_AT_ONCE)):
            made += len(part)
            yield Batch(CrystalTable.from_crystals(part))
        if made < self.n_crystals:
            raise SourceError(f'no more than {made} crystals can be made, but n_crystals is {self.n_crystals}')

    def origin(self) -> Origin:
        """Say what the crystals are made of."""
        files = substitution.data_files()
        citations = list(CITATIONS)
        if self.controls:
            files.append(literature.FILE)
            references = sorted({control.citation for control in literature.controls()})
            citations.append('controls: ' + '; '.join(references))
        return Origin(
            source=self.name,
            version=f'pymatgen {importlib.metadata.version("pymatgen")}',
            licence=self.licence,
            citation='; '.join(citations),
            files=[describe_file(path) for path in files],
            options={'n_crystals': self.n_crystals, 'seed': self.seed, 'controls': self.controls},
        )

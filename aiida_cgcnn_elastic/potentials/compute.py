"""What universal potentials know of crystals: features of their atoms, and how they respond to strain."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType

import numpy as np
import numpy.typing as npt

from aiida_cgcnn_elastic.workers import keep_memory, worker_pool

from . import response
from .features import PotentialFeatures
from .response import N_RESPONSES, Cell, Responses, elastic_responses
from .sevennet import N_FEATURES, POTENTIALS, atom_features, groups

__all__ = ['HOW_MADE', 'POTENTIAL', 'FeatureMaker', 'PotentialUnavailable', 'prepare_process', 'require_potential']

Piece = tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""What a `FeatureMaker` is called with: lattices, atomic numbers, fractional coordinates and offsets."""

POTENTIAL = f'{"+".join(POTENTIALS)}+response:{response.POTENTIAL}'
"""What features are made with."""

HOW_MADE: dict[str, str | float] = {
    'potential': POTENTIAL,
    'most_evaluated': response.MOST_EVALUATED,
    'most_stress': response.MOST_STRESS,
    'most_at_once': response.MOST_AT_ONCE,
    'strain': response.STRAIN,
    'displacement': response.DISPLACEMENT,
    'symmetry_tolerance': response.SYMMETRY_TOLERANCE,
    'softest': response.SOFTEST,
}
"""All that kept features depend on, beside the crystals."""


class PotentialUnavailable(RuntimeError):  # noqa: N818 - it is no fault of the input
    """A package that features are made with is not installed."""


def require_potential() -> None:
    """Raise `PotentialUnavailable` if features cannot be made here."""
    try:
        import phonopy  # noqa: F401
        import sevenn  # noqa: F401
    except ImportError as error:
        raise PotentialUnavailable(
            f'the features {POTENTIAL} need the packages sevenn and phonopy, the extra `refine`: in the folder of the '
            "project, pip install -c constraints.txt -e '.[refine]'"
        ) from error


class FeatureMaker:
    """Makes features of crystals, in several processes where they are many.

    Parameters
    ----------
    device : str
        A name that torch knows.
    processes : int
        Each uses one CPU thread; on another device all is done in this process.
    """

    def __init__(self, device: str = 'cpu', processes: int = 1) -> None:
        require_potential()
        self._device = device
        self._processes = processes if device == 'cpu' else 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> FeatureMaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            if kind is not None:
                # A job that must stop has no time to wait for crystals that nobody asks for any more.
                for process in list((self._pool._processes or {}).values()):
                    process.terminate()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __call__(
        self,
        lattices: npt.NDArray[np.float64],
        atomic_numbers: npt.NDArray[np.uint8],
        frac_coords: npt.NDArray[np.float64],
        offsets: npt.NDArray[np.int64],
    ) -> PotentialFeatures:
        """Return the features of ``m`` crystals; the number of processes does not change them.

        Parameters
        ----------
        lattices, atomic_numbers, frac_coords, offsets
            As in `cgcnn.graphs.build_graphs`.

        Raises
        ------
        ValueError
            If a crystal has an element that a potential does not know.
        """
        return self._begun((lattices, atomic_numbers, frac_coords, offsets))()

    def each(self, pieces: Iterable[Piece]) -> Iterator[PotentialFeatures]:
        """Yield the features of one piece after the other, each as it is called with.

        The next piece is begun before a piece is done, so that no process waits for the last crystal of a piece.
        """
        begun: deque[Callable[[], PotentialFeatures]] = deque()
        for piece in pieces:
            begun.append(self._begun(piece))
            if len(begun) > 1:
                yield begun.popleft()()
        while begun:
            yield begun.popleft()()

    def _begun(self, piece: Piece) -> Callable[[], PotentialFeatures]:
        """Let the processes begin with some crystals, if there are several, and return what ends the work."""
        lattices, atomic_numbers, frac_coords, offsets = piece
        parts = []
        for start, stop in groups(offsets, self._device):
            atoms = slice(offsets[start], offsets[stop])
            own = offsets[start : stop + 1] - offsets[start]
            parts.append((lattices[start:stop], atomic_numbers[atoms], frac_coords[atoms], own))
        # A response takes a moment or many seconds: only one by one do they keep all processes busy to the end.
        cells: list[Cell] = []
        for row, lattice in enumerate(lattices):
            atoms = slice(offsets[row], offsets[row + 1])
            cells.append((lattice, atomic_numbers[atoms], frac_coords[atoms]))

        def joined(values: Sequence[npt.NDArray[np.float16]], responses: Sequence[Responses]) -> PotentialFeatures:
            return PotentialFeatures(
                POTENTIAL,
                np.concatenate([np.empty((0, N_FEATURES), dtype=np.float16), *values]),
                np.asarray(offsets, dtype=np.int64),
                np.concatenate([np.empty((0, N_RESPONSES), dtype=np.float32), *(own.values for own in responses)]),
                np.concatenate([np.empty(0, dtype=np.float32), *(own.residual_stresses for own in responses)]),
            )

        if min(self._processes, len(cells)) > 1:
            pool = self._started()
            running = [pool.submit(elastic_responses, [cell]) for cell in cells]
            reading = [pool.submit(atom_features, *part) for part in parts]
            return lambda: joined([one.result() for one in reading], [one.result() for one in running])

        def alone() -> PotentialFeatures:
            with _one_thread():
                values = [atom_features(*part, device=self._device) for part in parts]
                if self._device == 'cpu':  # as the processes of the pool do, to the last digit
                    return joined(values, [elastic_responses([cell]) for cell in cells])
                return joined(values, [elastic_responses(cells, device=self._device)])

        return alone

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = worker_pool(self._processes, prepare_process)
        return self._pool


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread, as in the processes of the pool: sums over several round otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_process() -> None:
    """Prepare a process of a pool that evaluates potentials: one thread, and memory that is kept."""
    import torch

    keep_memory()
    torch.set_num_threads(1)

"""The parser of ``cgcnn-elastic train``."""

from __future__ import annotations

from typing import Any

from aiida.orm import Dict, SinglefileData

from aiida_cgcnn_elastic.calculations.train import TrainCalculation
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.data.packed import parse_parquet
from aiida_cgcnn_elastic.parsers.base import OutputError, RunnerParser, require_equal, require_labelled

__all__ = ('TrainParser',)


class TrainParser(RunnerParser):
    """Make a model, its metrics, history and predictions of the retrieved files."""

    def parse_outputs(self, report: dict[str, Any]) -> None:
        """Attach the model and what is known of it."""
        history = self.read_json(TrainCalculation.FILE_HISTORY)
        filename = TrainCalculation.FILE_PREDICTIONS
        predictions = self.read(filename)
        try:
            table = parse_parquet(predictions, filename, ('material_id', 'part', 'target', 'true', 'predicted'))
        except ValueError as exception:
            raise OutputError(self.unreadable(filename, exception)) from exception
        out_of_fold = self._out_of_fold()
        contents = [self.read(filename) for filename in ElasticModelData.FILENAMES]
        try:
            model = ElasticModelData.from_bytes(*contents)
        except ValueError as exception:
            raise OutputError(self.unreadable(ElasticModelData.FILE_WEIGHTS, exception)) from exception
        require_labelled(self.node.inputs.crystals, report)
        require_equal(
            {
                'crystals in the parts of the split': sum(report['n_by_part'].values()),
                'in the predictions': len(table.column('material_id').unique()),
            }
        )
        self.out('model', model)
        self.out('metrics', Dict(report['metrics']))
        self.out('history', Dict({'epochs': history}))
        self.out('predictions', SinglefileData.from_bytes(predictions, filename=filename))
        if out_of_fold is not None:
            self.out('out_of_fold', out_of_fold)

    def _out_of_fold(self) -> SinglefileData | None:
        """Return the predictions by models that did not see the crystal, None where the training makes none.

        Raises
        ------
        OutputError
            If they are unreadable.
        """
        filename = TrainCalculation.FILE_OUT_OF_FOLD
        if filename not in self.retrieved.base.repository.list_object_names():
            return None
        content = self.read(filename)
        try:
            parse_parquet(content, filename, ('material_id', 'fold', 'target', 'true'))
        except ValueError as exception:
            raise OutputError(self.unreadable(filename, exception)) from exception
        return SinglefileData.from_bytes(content, filename=filename)

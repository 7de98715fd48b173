"""The parser of ``cgcnn-elastic predict``."""

from __future__ import annotations

from typing import Any

from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.parsers.base import OutputError, RunnerParser, require_equal

__all__ = ('PredictParser',)


class PredictParser(RunnerParser):
    """Make a prediction set of the retrieved files."""

    def parse_outputs(self, report: dict[str, Any]) -> None:
        """Attach the predictions."""
        inputs = self.node.inputs
        models = {key: inputs.models[key] for key in inputs.models}
        try:
            with self.opened(*PredictionSetData.FILENAMES) as files:
                predictions = PredictionSetData.from_files(*files, models=models, source=inputs.crystals.source)
        except ValueError as exception:
            raise OutputError(self.unreadable(PredictionSetData.FILE_PREDICTIONS, exception)) from exception
        attributes = predictions.base.attributes
        for name in ('n_predicted', 'n_excluded', 'n_rejected'):
            require_equal({f'{name[2:]} in the report': report[name], 'in the file': attributes.get(name)})
        start, stop = inputs.rows.get_list() if 'rows' in inputs else (0, inputs.crystals.n_crystals)
        require_equal({'crystals given': stop - start, 'accounted for': attributes.get('n_crystals')})
        self.out('predictions', predictions)

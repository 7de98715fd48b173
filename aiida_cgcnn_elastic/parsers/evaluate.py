"""The parser of ``cgcnn-elastic evaluate``."""

from __future__ import annotations

from typing import Any

from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.evaluate import EvaluateCalculation
from aiida_cgcnn_elastic.parsers.base import RunnerParser, require_labelled

__all__ = ('EvaluateParser',)


class EvaluateParser(RunnerParser):
    """Make a node of the metrics."""

    def parse_outputs(self, report: dict[str, Any]) -> None:
        """Attach the metrics."""
        metrics = self.read_json(EvaluateCalculation.FILE_METRICS)
        require_labelled(self.node.inputs.crystals, report)
        self.out('metrics', Dict(metrics))

"""The job that predicts elastic moduli again, with a model that needs a universal potential."""

from __future__ import annotations

from typing import Any

from aiida.engine import CalcJobProcessSpec

from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('RefineCalculation', 'validate_models')


class RefineCalculation(PredictCalculation):
    """Predict the bulk and shear moduli of chosen crystals with a model that needs a universal potential.

    The potential makes the prediction better and some thousand times slower, so this is for the best few per cent of
    a screening. Where the job runs, the extra `refine` must be installed. Crystals with elements that the potential
    does not know are rejected.
    """

    CACHE_VERSION = 1
    """Raised when the same inputs give other outputs: since 1, predictions have `residual_stress`."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports."""
        super().define(spec)
        spec.inputs['metadata']['options']['parser_name'].default = 'cgcnn_elastic.refine'
        models = spec.inputs['models']
        base_validator = models.validator
        models.validator = lambda value, port: base_validator(value, port) or validate_models(value)
        models.help = f'{models.help} At least one needs a universal potential, as the shipped model `refined` does.'


def validate_models(models: dict[str, ElasticModelData], _: Any = None) -> str | None:
    """Return what is wrong with the models, None where nothing is."""
    if any(model.potential for model in models.values()):
        return None
    names = ', '.join(sorted(model.name for model in models.values()))
    return f'none of the models ({names}) needs a universal potential: predict with `cgcnn_elastic.predict`'

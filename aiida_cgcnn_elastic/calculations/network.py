"""What the jobs that evaluate models on the crystals of a set have in common."""

from __future__ import annotations

from typing import Any

from aiida.common.datastructures import CalcInfo
from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation, check_keys
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('NetworkCalculation',)


class NetworkCalculation(RunnerCalculation):
    """A job that gives crystals to models."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports."""
        super().define(spec)
        spec.input('crystals', valid_type=CrystalSetData, help='The crystals.')
        spec.input_namespace(
            'models',
            valid_type=ElasticModelData,
            dynamic=True,
            required=True,
            validator=validate_models,
            help='The models, each under a key of choice; together they predict both moduli. Where several predict the '
            'same, the mean is taken.',
        )
        spec.input(
            'parameters',
            valid_type=Dict,
            required=False,
            validator=validate_parameters,
            help='`device` (auto, cpu, cuda), `dtype` (float32, float64), `batch_edges`, `chunk_size`.',
        )

    def stage_models(self, calc_info: CalcInfo) -> list[str]:
        """Have the models copied into the job's folder and return the arguments that name them."""
        arguments: list[str] = []
        for key, model in sorted(self.inputs.models.items()):
            for filename in ElasticModelData.FILENAMES:
                calc_info.local_copy_list.append((model.uuid, filename, f'models/{key}/{filename}'))
            arguments += ['--model', f'models/{key}']
        return arguments

    def network_arguments(self) -> list[str]:
        """Return the arguments for the parameters."""
        parameters = self.parameters()
        return [text for key in sorted(parameters) for text in (f'--{key.replace("_", "-")}', str(parameters[key]))]


def validate_models(models: dict[str, ElasticModelData], _: Any) -> str | None:
    """Return what is wrong with the models, None where nothing is."""
    return None if models else 'at least one model is needed'


def validate_parameters(value: Dict | None, _: Any) -> str | None:
    """Return what is wrong with the parameters, None where nothing is."""
    if value is None:
        return None
    parameters = value.get_dict()
    if message := check_keys(parameters, ('device', 'dtype', 'batch_edges', 'chunk_size')):
        return message
    if not isinstance(parameters.get('device', ''), str):
        return f'`device` is {parameters["device"]!r}, but must be a text such as cpu or cuda'
    if parameters.get('dtype', 'float32') not in ('float32', 'float64'):
        return f'`dtype` is {parameters["dtype"]!r}, but must be float32 or float64'
    for key in ('batch_edges', 'chunk_size'):
        number = parameters.get(key, 1)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            return f'`{key}` is {number!r}, but must be a positive integer'
    return None

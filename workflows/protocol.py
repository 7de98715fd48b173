"""Protocols: named sets of inputs, kept in a YAML file beside the work chain."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PROTOCOLS = Path(__file__).parent / 'protocols'


class ProtocolMixin:
    """Give a work chain named protocols, read from ``protocols/<_protocol_file>``.

    The file has ``default_inputs``, ``default_protocol`` and ``protocols``; each protocol has a ``description`` and the
    inputs in which it differs from ``default_inputs``, nested as the work chain's input ports are.
    """

    _protocol_file: str

    @classmethod
    def get_default_protocol(cls) -> str:
        """Return the name of the protocol that is used where none is named."""
        return cls._load_protocols()['default_protocol']

    @classmethod
    def get_available_protocols(cls) -> dict[str, str]:
        """Return the description of each protocol by its name."""
        return {name: protocol['description'] for name, protocol in cls._load_protocols()['protocols'].items()}

    @classmethod
    def get_protocol_inputs(cls, protocol: str | None = None, overrides: Mapping[str, Any] | None = None) -> dict:
        """Return the inputs of a protocol, with ``overrides`` put over them.

        Parameters
        ----------
        protocol
            Name of the protocol; the default one where None.
        overrides
            Inputs that replace those of the protocol, nested in the same way.

        Raises
        ------
        ValueError
            For a protocol that does not exist, or an override of an input that the work chain does not have.
        """
        data = cls._load_protocols()
        name = protocol or data['default_protocol']
        if name not in data['protocols']:
            raise ValueError(f'no protocol {name!r}; {cls.__name__} has: {", ".join(sorted(data["protocols"]))}')

        inputs = merge(data['default_inputs'], data['protocols'][name])
        del inputs['description']
        for key in overrides or {}:
            if key not in cls.spec().inputs:  # type: ignore[attr-defined]
                raise ValueError(
                    f'overrides: {cls.__name__} has no input {key!r}; it has: ' + ', '.join(sorted(cls.spec().inputs))  # type: ignore[attr-defined]
                )
        return merge(inputs, overrides or {})

    @classmethod
    def _load_protocols(cls) -> dict:
        return yaml.safe_load((PROTOCOLS / cls._protocol_file).read_text(encoding='utf-8'))


def merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of ``left`` with ``right`` put over it, mapping by mapping."""
    merged = copy.deepcopy(dict(left))
    for key, value in right.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged

"""Settings: frozen dataclasses of plain values that are checked, and are a dictionary in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

__all__ = ['Settings']


@dataclass(frozen=True)
class Settings:
    """What all settings have in common. Those that are impossible raise ValueError, which names the culprit."""

    WHAT: ClassVar[str]
    """What the settings are of, for messages."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings with these values, and the defaults where one is not given.

        Raises
        ------
        ValueError
            If a key is unknown (the message lists those there are) or a value impossible.
        """
        cls.check_keys(values)
        return cls(**values)

    @classmethod
    def check_keys(cls, values: Mapping[str, Any], *more: str) -> None:
        """Raise ValueError if a key is neither the name of a setting nor one of ``more``."""
        allowed = [*(item.name for item in fields(cls)), *more]
        if unknown := sorted(set(values) - set(allowed)):
            raise ValueError(f'unknown keys of {cls.WHAT}: {unknown}; allowed are {allowed}')

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def _check(self, name: str, is_allowed: bool, expected: str) -> None:
        """Raise ValueError unless the value of a setting is allowed."""
        if not is_allowed:
            raise ValueError(f'{name} of {self.WHAT} is {getattr(self, name)!r}; expected {expected}')

    def _check_whole(self, *names: str, least: int = 1) -> None:
        """Raise ValueError unless the settings of these names are whole numbers of at least ``least``."""
        for name in names:
            value = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            self._check(name, is_whole and value >= least, f'a whole number of at least {least}')

    def _check_numbers(self, *names: str, is_allowed: Callable[[float], bool], expected: str) -> None:
        """Raise ValueError unless the settings of these names are numbers that are allowed."""
        for name in names:
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            self._check(name, is_number and is_allowed(value), f'a number {expected}')

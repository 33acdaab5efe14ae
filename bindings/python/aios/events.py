"""What happens during a run."""
from __future__ import annotations

import json
from typing import Any, Dict, Iterator, Mapping

__all__ = ["Event"]


class Event(Mapping[str, Any]):
    """Something that happened: a name ("step", "eval", "checkpoint_save") and its fields, as attributes or by [].

    The fields of each are listed in aios/trainer.h.  A number that is not finite is NaN or an infinity, or None."""

    __slots__ = ("name", "fields")

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        self.name = name
        self.fields: Dict[str, Any] = dict(fields)

    @classmethod
    def parse(cls, name: str, text: str) -> "Event":
        return cls(name, json.loads(text))

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __getattr__(self, key: str) -> Any:
        if key not in type(self).__slots__ and key in self.fields:
            return self.fields[key]
        raise AttributeError(f'event "{self.name}" has no field "{key}": it has {", ".join(self.fields)}')

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {self.fields!r})"

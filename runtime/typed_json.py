"""Reads JSON into frozen dataclasses, every field checked, and writes them back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping

Json = typing.Any


def from_json(kind: type, data: Json, where: str = "") -> typing.Any:
    """An object of a dataclass, from what `to_json` wrote.

    Fields may be int, float, str, bool, None, dict, other dataclasses, tuples of one kind, mappings from str, unions of
    these, and classes with a `from_json` of their own. where: stands before a field's name in errors. Raises ValueError
    that names the first field that is missing, unknown or of another type.
    """
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "from_json"):
        return read_object(kind, data, where)
    if hasattr(kind, "from_json"):
        return kind.from_json(data)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _first(arguments, data, where)
    if origin is tuple:
        _check(isinstance(data, (list, tuple)), where, "a list", data)
        return tuple(from_json(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is dict:
        _check(isinstance(data, Mapping), where, "an object", data)
        return {name: from_json(arguments[1], item, f"{where}.{name}") for name, item in data.items()}
    if kind is float:
        _check(type(data) in (int, float), where, "a number", data)
    elif kind is not typing.Any:
        _check(type(data) is kind, where, kind.__name__, data)
    return data


def to_json(value: typing.Any) -> Json:
    """The inverse: dataclasses as objects, tuples as lists; a field that is None by default and None is left out."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        kept = ((field, item) for field, item in fields if not (item is None and field.default is None))
        return {field.name: to_json(item) for field, item in kept}
    if isinstance(value, Mapping):
        return {name: to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_object(kind: type, data: Json, where: str = "") -> typing.Any:
    """An object of a dataclass, field by field; for arguments and errors see `from_json`."""
    _check(isinstance(data, Mapping), where, "an object", data)
    fields, hints = dataclasses.fields(kind), typing.get_type_hints(kind)
    unknown = sorted(set(data) - {field.name for field in fields})
    if unknown:
        raise ValueError(f"{where or kind.__name__} has the unknown field {unknown[0]}")
    given = {}
    for field in fields:
        path = f"{where}.{field.name}" if where else field.name
        if field.name in data:
            given[field.name] = from_json(hints[field.name], data[field.name], path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{path} is missing")
    return kind(**given)


def _first(kinds: tuple, data: Json, where: str) -> typing.Any:
    """As the first kind of a union that fits."""
    for kind in kinds:
        try:
            return from_json(kind, data, where)
        except (ValueError, TypeError) as error:
            failed = error
    raise failed


def _check(fits: bool, where: str, wanted: str, data: Json) -> None:
    if not fits:
        raise ValueError(f"{where} is {str(data)[:60]!r}; it has to be {'null' if wanted == 'NoneType' else wanted}")

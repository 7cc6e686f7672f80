"""Converts JSON to frozen dataclasses, with a check of every field, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping

Json = typing.Any


def from_json(kind: type, data: Json, where: str = "") -> typing.Any:
    """Converts what `to_json` wrote to an object of the given type.

    kind: int, float, str, bool, None, a dataclass, a tuple of one type, a dict with str keys, a union of these, or a
    class with a `from_json` of its own. data: parsed JSON. where: the path of `data` for messages, such as
    "stages.parser". Raises ValueError that names the first field which is missing, unknown or of another type.
    """
    if hasattr(kind, "from_json"):
        return kind.from_json(data)
    if dataclasses.is_dataclass(kind):
        return read_object(kind, data, where)
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
    """Converts an object to JSON: dataclasses to objects, tuples to lists.

    A field that is None is left out if None is its default.
    """
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
    """Converts JSON to a dataclass field by field, even if the class has a `from_json`; see there for the arguments."""
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
    """Converts JSON to the first type of a union that fits; if none does, raises the error of the first type."""
    errors = []
    for kind in kinds:
        try:
            return from_json(kind, data, where)
        except (ValueError, TypeError) as error:
            errors.append(error)
    raise errors[0]


def _check(fits: bool, where: str, wanted: str, data: Json) -> None:
    if not fits:
        raise ValueError(f"{where} is {str(data)[:60]!r}; it has to be {'null' if wanted == 'NoneType' else wanted}")

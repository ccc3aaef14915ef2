"""Changing a recipe by `--set key=value`: frozen dataclasses, dotted keys, values read by their annotation.

Holds the reading of texts alone. Never knows a recipe's meaning.
"""

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Recipe = TypeVar("Recipe")


class OverrideError(ValueError):
    """A key or value that cannot be set; the message is one clear line for the person who wrote it."""


def parse_assignments(texts: tuple[str, ...]) -> dict[str, str]:
    """`("a=1", "b.c=x")` to `{"a": "1", "b.c": "x"}`.

    Raises:
        OverrideError: if a text holds no `=`.
    """
    for text in texts:
        if "=" not in text:
            raise OverrideError(f"--set takes key=value, not {text!r}")
    return {key.strip(): value.strip() for key, value in (text.split("=", 1) for text in texts)}


def override(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """A copy of a frozen dataclass with dotted keys set, e.g. `{"network.backbone.depths": "1,1"}`.

    A mapping takes any name, one at a time (`rows.celeba=8`) or anew as a whole (`rows=celeba:8,utkface:4`).

    Raises:
        OverrideError: if a key is unknown (the nearest one is named) or a value does not fit its field.
    """
    known = list(keys(recipe))
    for key in changes:
        if key not in known and not _in_mapping(recipe, key):
            near = difflib.get_close_matches(key, known, 1, cutoff=0)
            raise OverrideError(f"the recipe has no {key!r}; did you mean {near[0]!r}?")
    try:
        return _override(recipe, changes, "")
    except OverrideError:
        raise
    except ValueError as error:
        raise OverrideError(str(error)) from error


def keys(recipe: object, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a recipe that holds a value, in order."""
    for field in fields(recipe):  # type: ignore[arg-type]
        value = getattr(recipe, field.name)
        if is_dataclass(value):
            yield from keys(value, f"{prefix}{field.name}.")
        elif isinstance(value, Mapping):
            yield from (f"{prefix}{field.name}.{name}" for name in value)
        else:
            yield f"{prefix}{field.name}"


def _in_mapping(recipe: object, key: str) -> bool:
    """Whether a dotted key stands in a mapping, which takes any name: the data or the network knows the right ones."""
    name, _, rest = key.partition(".")
    value = getattr(recipe, name, None) if name in {field.name for field in fields(recipe)} else None  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return True
    return is_dataclass(value) and rest != "" and _in_mapping(value, rest)


def _override(recipe: Recipe, changes: Mapping[str, str], prefix: str) -> Recipe:
    hints = get_type_hints(type(recipe))
    values: dict[str, Any] = {}
    for name in {key.split(".")[0] for key in changes}:
        inner = {key.split(".", 1)[1]: text for key, text in changes.items() if key.startswith(f"{name}.")}
        if isinstance(getattr(recipe, name), Mapping):
            whole: Any = (
                _read(f"{prefix}{name}", hints[name], changes[name]) if name in changes else getattr(recipe, name)
            )
            kind = get_args(hints[name])[1]
            values[name] = whole | {key: _read(f"{prefix}{name}.{key}", kind, text) for key, text in inner.items()}
        elif inner:
            values[name] = _override(getattr(recipe, name), inner, f"{prefix}{name}.")
        else:
            values[name] = _read(f"{prefix}{name}", hints[name], changes[name])
    return replace(recipe, **values)  # type: ignore[type-var]


def _read(key: str, kind: object, text: str) -> object:
    try:
        return _value(kind, text)
    except (ValueError, KeyError) as error:
        raise OverrideError(f"{key} cannot be {text!r}: {_describe(kind)} is needed") from error


def _value(kind: object, text: str) -> object:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if text.lower() == "none" else _value(next(arg for arg in args if arg is not type(None)), text)
    if origin is Literal:
        return {str(choice): choice for choice in args}[text]
    if origin is tuple:
        items = [item for item in text.split(",") if item.strip()]
        if args[-1] is not Ellipsis and len(items) != len(args):
            raise ValueError(text)
        return tuple(_value(args[0], item.strip()) for item in items)
    if origin is Mapping:
        pairs = [item.split(":") for item in text.split(",") if item.strip()]
        return {name.strip(): _value(args[1], value.strip()) for name, value in pairs}
    return _scalar(kind, text)


def _scalar(kind: object, text: str) -> object:
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(text)


def _describe(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind).replace("typing.", "")

"""Tests of model.training.overrides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from model.training.overrides import OverrideError, keys, override, parse_assignments


@dataclass(frozen=True)
class Inner:
    depths: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.5, 1.0)
    kind: Literal["max", "average"] = "max"
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.depths:
            raise ValueError("depths must not be empty")


@dataclass(frozen=True)
class Outer:
    steps: int = 3
    rate: float = 0.1
    quick: bool = False
    name: str = "a"
    inner: Inner = field(default_factory=Inner)


def test_values_are_read_by_their_annotation() -> None:
    """Each text becomes a value of its field's type, nested ones by a dotted key; the recipe itself stays as it was."""
    recipe = Outer()
    changes = {
        "steps": "7",
        "rate": "1e-3",
        "quick": "true",
        "name": "b",
        "inner.depths": "3,4,5",
        "inner.pair": "1,2",
        "inner.kind": "average",
        "inner.limit": "9",
    }
    assert override(recipe, changes) == Outer(7, 1e-3, True, "b", Inner((3, 4, 5), (1.0, 2.0), "average", 9))
    assert recipe == Outer()
    assert override(Outer(inner=Inner(limit=3)), {"inner.limit": "none"}).inner.limit is None


@pytest.mark.parametrize(
    ("key", "near"),
    [("stpes", "steps"), ("inner.depth", "inner.depths"), ("iner.kind", "inner.kind"), ("inner", "inner.")],
)
def test_a_typo_is_refused(key: str, near: str) -> None:
    """An unknown key is refused with the nearest one there is."""
    with pytest.raises(OverrideError, match=f"no '{key}'; did you mean '{near}"):
        override(Outer(), {key: "1"})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("steps", "1.5"),
        ("steps", "many"),
        ("quick", "yes"),
        ("inner.kind", "min"),
        ("inner.pair", "1"),
        ("inner.depths", "1,x"),
        ("rate", ""),
    ],
)
def test_a_value_of_another_kind_is_refused(key: str, text: str) -> None:
    """A text that is no value of the field is refused, naming key, text and what is needed."""
    with pytest.raises(OverrideError, match=rf"{key} cannot be '{text}': .* is needed"):
        override(Outer(), {key: text})


def test_a_recipes_own_refusal_is_passed_on() -> None:
    """What the dataclass itself refuses comes out as the same clear line."""
    with pytest.raises(OverrideError, match="depths must not be empty"):
        override(Outer(), {"inner.depths": ""})


def test_assignments() -> None:
    """Texts are split at the first equals sign; one without is refused."""
    assert parse_assignments(("a=1", "b.c = x=y")) == {"a": "1", "b.c": "x=y"}
    with pytest.raises(OverrideError, match="key=value, not 'steps'"):
        parse_assignments(("steps",))


def test_keys_are_listed_in_order() -> None:
    """Every value's dotted key is listed, in the order of the fields."""
    nested = ["inner.depths", "inner.pair", "inner.kind", "inner.limit"]
    assert list(keys(Outer())) == ["steps", "rate", "quick", "name", *nested]


@dataclass(frozen=True)
class Mixed:
    rows: Mapping[str, int] = field(default_factory=lambda: {"a": 3, "b": 2})
    inner: "Shares" = field(default_factory=lambda: Shares())


@dataclass(frozen=True)
class Shares:
    shares: Mapping[str, float] = field(default_factory=dict)


def test_a_mapping_takes_any_name() -> None:
    """One entry of a mapping is set or added by a dotted key, whatever dots its own name has; the rest stays."""
    changed = override(Mixed(), {"rows.b": "0", "rows.new-set": "7", "inner.shares.head.norm": "0.5"})
    assert changed == Mixed({"a": 3, "b": 0, "new-set": 7}, Shares({"head.norm": 0.5}))


def test_a_mapping_is_set_anew() -> None:
    """A mapping's own key replaces all of it, and single entries count on top."""
    assert override(Mixed(), {"rows": "x:4, y:5", "rows.y": "6"}).rows == {"x": 4, "y": 6}


@pytest.mark.parametrize("changes", [{"rows": "x"}, {"rows": "x:many"}, {"rows.x": "1.5"}])
def test_a_mapping_of_something_else_is_refused(changes: dict[str, str]) -> None:
    """An entry without a value, or with one of another kind, is refused as any other value is."""
    with pytest.raises(OverrideError, match="is needed"):
        override(Mixed(), changes)

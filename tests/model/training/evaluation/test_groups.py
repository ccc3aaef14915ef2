from dataclasses import replace

import numpy as np

from model.runtime.labels import ATTRIBUTES
from model.training.evaluation.groups import groups_of, intersections_of, is_intersection, kind_of, label_of
from tests.model.training.evaluation.test_matching import _table


def test_people_in_two_groups_are_a_group_where_they_are_fifty() -> None:
    """Sixty Asian women are stated, forty Asian men are not, and nobody is in two groups of one kind."""
    gender = np.array([0] * 60 + [1] * 40)
    table = replace(_table(np.arange(100), gender), race=np.full(100, 2))
    found = intersections_of(table)
    assert set(found) == {"gender=female,race=asian"}
    assert found["gender=female,race=asian"].sum() == 60
    assert all(is_intersection(group) for group in found)
    assert not any(is_intersection(group) for group in groups_of(table))


def test_celebas_young_is_an_age_group() -> None:
    """Where no age in years is labelled, the attribute tells the young from the others."""
    attributes = np.full((4, 40), 0, np.int8)
    attributes[:3, ATTRIBUTES.index("young")] = 1
    table = replace(_table(np.arange(4), np.zeros(4, int)), attributes=attributes)
    found = {group: int(inside.sum()) for group, inside in groups_of(table).items()}
    assert found == {"gender=female": 4, "youth=older": 1, "youth=young": 3}


def test_groups_are_told_by_kind_and_label() -> None:
    """A kind is what members share; a label is what a picture writes."""
    assert (kind_of("age=20-29"), label_of("age=20-29")) == ("age", "20-29 years")
    assert (kind_of("gender=female,race=asian"), label_of("gender=female,race=asian")) == (
        "gender and race",
        "female, asian",
    )

"""Tests of model.training.sampler."""

from collections import Counter

from model.training.sampler import MixedSampler, kept_rows

SIZES, ROWS = {"a": 10, "b": 7, "c": 5}, {"a": 4, "b": 3, "c": 0}


def test_stated_rows_of_each_set() -> None:
    """Every batch holds the stated number of rows of each set, within the set; a set with none is left out."""
    sampler = MixedSampler(SIZES, ROWS, seed=1)
    for step in range(20):
        drawn = sampler.draw(step)
        assert {name: len(index) for name, index in drawn.items()} == {"a": 4, "b": 3}
        assert all(0 <= row < SIZES[name] for name, index in drawn.items() for row in index)


def test_each_row_once_a_pass() -> None:
    """A set's rows are all seen once before any is seen again, in another order each pass."""
    sampler = MixedSampler(SIZES, ROWS, seed=1)
    rows = [int(row) for step in range(5) for row in sampler.draw(step)["a"]]
    assert Counter(rows[:10]) == Counter(rows[10:]) == Counter(range(10))
    assert rows[:10] != rows[10:]


def test_a_batch_larger_than_its_set() -> None:
    """A set smaller than its share of a batch is walked more than once in it."""
    drawn = MixedSampler({"a": 3}, {"a": 7}, seed=1).draw(0)["a"]
    assert sorted(Counter(drawn.tolist()).values()) == [2, 2, 3]


def test_a_step_depends_on_seed_and_step_alone() -> None:
    """A fresh sampler asked for step 17 alone draws what one that came all the way draws; another seed differs."""
    walked = MixedSampler(SIZES, ROWS, seed=1)
    drawn = [walked.draw(step) for step in range(18)][17]
    fresh = MixedSampler(SIZES, ROWS, seed=1).draw(17)
    assert {name: index.tolist() for name, index in drawn.items()} == {n: i.tolist() for n, i in fresh.items()}
    others = [MixedSampler(SIZES, ROWS, seed=2).draw(step)["a"].tolist() for step in range(4)]
    assert others != [walked.draw(step)["a"].tolist() for step in range(4)]


def test_a_pass_keeps_its_share() -> None:
    """With `keep` a pass holds that share of a set's rows, each once, another choice each pass, all of them in time."""
    sampler = MixedSampler({"a": 10}, {"a": 5}, seed=1, keep={"a": 0.5})
    passes = [sorted(sampler.draw(number)["a"].tolist()) for number in range(40)]
    assert all(len(set(rows)) == 5 for rows in passes)
    assert passes[0] != passes[1]
    counts = Counter(row for rows in passes for row in rows)
    assert set(counts) == set(range(10))
    assert all(8 <= count <= 32 for count in counts.values())


def test_kept_rows() -> None:
    """A set keeps the rounded share of its rows, one at least, all from 1 on."""
    assert [kept_rows(9, keep) for keep in (1.0, 2.0, 0.5, 0.01)] == [9, 9, 4, 1]

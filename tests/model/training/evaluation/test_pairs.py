from pathlib import Path

import numpy as np
import pytest

from model.training.dataset import DataError
from model.training.evaluation.pairs import PairList, few_pairs, read_pairs

NAMES = ("a.jpg", "b.jpg", "c.jpg")


def _read(folder: Path, text: str) -> PairList | None:
    (folder / "my-val-pairs.csv").write_text(text)
    return read_pairs(folder, "my", NAMES)


def test_pairs_are_rows_of_the_set(tmp_path: Path) -> None:
    """Names become row numbers, whatever the columns' order."""
    found = _read(tmp_path, "same,fold,name_b,name_a\n1,0,c.jpg,a.jpg\n0,9,a.jpg,b.jpg\n")
    assert found is not None
    assert (found.first.tolist(), found.second.tolist()) == ([0, 1], [2, 0])
    assert (found.same.tolist(), found.fold.tolist()) == ([True, False], [0, 9])


def test_a_set_may_have_no_pairs(tmp_path: Path) -> None:
    """An absent file is no error."""
    assert read_pairs(tmp_path, "my", NAMES) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fold,name_a,same\n0,a.jpg,1\n", "lacks the column 'name_b'"),
        ("fold,name_a,name_b,same\n", "holds no pairs"),
        ("fold,name_a,name_b,same\n0,a.jpg,b.jpg,1\n0,a.jpg,z.jpg,1\n", "line 3: the set holds no image named 'z.jpg'"),
        ("fold,name_a,name_b,same\n0,a.jpg,b.jpg,yes\n", "line 2: same is 0 or 1, not 'yes'"),
        ("fold,name_a,name_b,same\nx,a.jpg,b.jpg,1\n", "line 2: fold is a whole number, not 'x'"),
        ("fold,name_a,name_b,same\n0,a.jpg\n", "line 2: the set holds no image named None"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    """What breaks the form is an error that says where."""
    with pytest.raises(DataError, match=words):
        _read(tmp_path, text)


def test_few_pairs_keep_the_balance_of_folds_and_kinds() -> None:
    """A few of 200 pairs on no more than 100 images: as many of each fold and kind."""
    number = np.arange(200)
    pairs = PairList(number * 2, number * 2 + 1, number % 2 == 0, number // 20)
    few = few_pairs(pairs, 100)
    assert len(few) == 40
    assert len({*few.first.tolist(), *few.second.tolist()}) <= 100
    kinds, counts = np.unique(np.stack([few.fold, few.same]), axis=1, return_counts=True)
    assert kinds.shape == (2, 20)
    assert set(counts.tolist()) == {2}


def test_few_pairs_are_one_of_each_kind_at_least() -> None:
    """A limit under one pair a fold and kind still leaves something to measure."""
    number = np.arange(40)
    assert len(few_pairs(PairList(number, number + 1, number % 2 == 0, number // 4), 1)) == 20


@pytest.mark.data
@pytest.mark.parametrize(("dataset", "num_images"), [("lfw", 5910), ("celeba", 1098)])
def test_the_real_pair_files_resolve_to_validation_images(shared_data: Path, dataset: str, num_images: int) -> None:
    """Ten folds of 300 same and 300 different pairs, whose identities agree with what each pair says."""
    import pyarrow.parquet as pq

    table = pq.read_table(shared_data / f"{dataset}-val.parquet", columns=["name", "identity"])
    identity = np.array(table["identity"].to_pylist())
    pairs = read_pairs(shared_data, dataset, tuple(table["name"].to_pylist()))
    assert pairs is not None
    assert (len(identity), len(pairs)) == (num_images, 6000)
    assert ((identity[pairs.first] == identity[pairs.second]) == pairs.same).all()
    for fold in range(10):
        assert (pairs.same[pairs.fold == fold].sum(), (pairs.fold == fold).sum()) == (300, 600)


@pytest.mark.data
def test_lfws_impostor_pairs_number_seventeen_million(shared_data: Path) -> None:
    """Scored all, in float32: 5,910 images make 17,461,095 pairs, and the genuine ones are those of equal names."""
    import pyarrow.parquet as pq

    from model.training.evaluation.verification import all_pairs

    identity = pq.read_table(shared_data / "lfw-val.parquet", columns=["identity"])["identity"].to_pylist()
    _, counts = np.unique(identity, return_counts=True)
    num_genuine = int((counts * (counts - 1) // 2).sum())
    scores = all_pairs(np.random.default_rng(0).normal(size=(len(identity), 8)), identity)
    assert len(scores.genuine) == num_genuine
    assert len(scores.impostor) == 5910 * 5909 // 2 - num_genuine
    assert 17_000_000 < len(scores.impostor) < 17_461_095
    assert scores.impostor.nbytes == 4 * len(scores.impostor)

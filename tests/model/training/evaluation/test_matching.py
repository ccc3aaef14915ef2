import numpy as np
from numpy.typing import NDArray

from model.training.dataset import FaceTable
from model.training.evaluation.matching import measure_all_pairs, measure_pairs, rate_name
from model.training.evaluation.pairs import PairList
from model.training.evaluation.verification import all_pairs


def _table(identity: NDArray[np.int64], gender: NDArray[np.int64]) -> FaceTable:
    num = len(identity)
    unknown = np.full(num, -1)
    return FaceTable(
        dataset="my",
        split="val",
        images=np.zeros((num, 2, 2, 3), np.uint8),
        names=tuple(f"{row}.jpg" for row in range(num)),
        identity=identity,
        identity_names=tuple(f"my:{number}" for number in range(int(identity.max()) + 1)),
        age=np.full(num, np.nan, np.float32),
        gender=gender,
        race=unknown,
        expression=unknown,
        attributes=np.full((num, 40), -1, np.int8),
        teacher=np.full((num, 128), np.nan, np.float16),
    )


def _faces(num_people: int, per_person: int, noise: float) -> tuple[NDArray[np.float32], FaceTable]:
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(num_people), per_person)
    centres = rng.normal(size=(num_people, 24))
    rows = centres[identity] + noise * rng.normal(size=(len(identity), 24))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), _table(identity, identity % 2)


def test_each_group_is_judged_at_everyones_threshold() -> None:
    """TAR and FMR of a group are those of its own pairs at the threshold that was set on all of them."""
    embeddings, table = _faces(60, 4, 0.8)
    found = measure_all_pairs(embeddings, table)
    values = {(m.metric, m.group): (m.value, m.num_samples) for m in found.measures}
    everyone = all_pairs(embeddings, table.identity)
    threshold, _ = values["threshold_at_fmr_1e-02", "all"]
    assert values["tar_at_fmr_1e-02", "all"] == (float((everyone.genuine >= threshold).mean()), 360)
    assert (everyone.impostor >= threshold).mean() <= 0.01
    women = table.gender == 0
    part = all_pairs(embeddings[women], table.identity[women])
    tar = (float((part.genuine >= threshold).mean()), 180)
    assert values["tar_at_fmr_1e-02", "gender=female"] == tar
    fmr = (float((part.impostor >= threshold).mean()), len(part.impostor))
    assert values["fmr_at_threshold_of_1e-02", "gender=female"] == fmr
    assert [curve.group for curve in found.curves] == ["all", "gender=female", "gender=male"]


def test_a_rate_that_needs_more_pairs_than_there_are_is_noted_and_not_stated() -> None:
    """28,320 impostor pairs measure 1e-2 and 1e-3; 1e-4 would rest on three of them."""
    embeddings, table = _faces(60, 4, 0.8)
    found = measure_all_pairs(embeddings, table)
    rates = {m.metric for m in found.measures if m.metric.startswith("tar") and m.group == "all"}
    assert rates == {"tar_at_fmr_1e-02", "tar_at_fmr_1e-03"}
    assert found.notes == ["my: an FMR of 0.0001 needs 100,000 impostor pairs to be measured; there are 28,320"]


def test_faces_without_identity_take_no_part() -> None:
    """Rows of unknown identity change no figure."""
    embeddings, table = _faces(60, 4, 0.8)
    more = _table(np.append(table.identity, [-1, -1]), np.append(table.gender, [0, 1]))
    extended = np.concatenate([embeddings, embeddings[:2]])
    assert measure_all_pairs(extended, more).measures == measure_all_pairs(embeddings, table).measures


def test_a_set_of_single_faces_has_no_true_accept_rate() -> None:
    """Without a genuine pair there is a note and no figure."""
    found = measure_all_pairs(*_faces(30, 1, 0.5))
    assert found.measures == []
    assert "no genuine" in found.notes[0]


def test_pairs_within_a_group_have_their_own_folds() -> None:
    """Women's pairs are all judged rightly and men's all wrongly; mixed pairs count for everyone alone."""
    table = _table(np.arange(8) // 2, np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    embeddings = np.eye(8, dtype=np.float32)
    embeddings[1] = embeddings[0]  # woman 0 is like herself; each man is like the other one
    embeddings[6] = embeddings[4]
    first, second = [0, 0, 4, 4] * 4, [1, 2, 5, 6] * 4
    same, fold = [True, False, True, False] * 4, np.repeat(np.arange(4), 4)
    found = measure_pairs(embeddings, table, PairList(np.array(first), np.array(second), np.array(same), fold))
    values = {m.group: (m.value, m.num_samples) for m in found.measures if m.metric == "accuracy_10fold"}
    assert values["gender=female"] == (1.0, 8)
    assert values["gender=male"] == (0.5, 8)
    assert values["all"][1] == 16


def test_a_group_with_too_few_pairs_is_noted() -> None:
    """Men of whom no pair is listed have a note instead of an accuracy."""
    table = _table(np.arange(4) // 2, np.array([0, 0, 1, 1]))
    pairs = PairList(np.array([0, 0] * 2), np.array([1, 2] * 2), np.array([True, False] * 2), np.array([0, 0, 1, 1]))
    found = measure_pairs(np.eye(4, dtype=np.float32), table, pairs)
    assert {m.group for m in found.measures} == {"all"}
    assert "my: too few pairs within gender=male for the ten-fold protocol" in found.notes


def test_rates_are_named_as_they_are_written() -> None:
    """A power of ten is short, any other rate is exact."""
    assert [rate_name(rate) for rate in (1e-2, 1e-3, 1e-6, 0.0025)] == ["1e-02", "1e-03", "1e-06", "0.0025"]

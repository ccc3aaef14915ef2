import numpy as np
import pytest

from model.training.evaluation.ijb.templates import face_weights, pair_scores, template_vectors
from model.training.evaluation.validation import EvaluationError

NUM_FACES, NUM_TEMPLATES, DIM = 60, 9, 12


def _lists() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    template = np.concatenate([np.arange(NUM_TEMPLATES), rng.integers(0, NUM_TEMPLATES, NUM_FACES - NUM_TEMPLATES)])
    media = rng.integers(0, 4, NUM_FACES)  # media numbers recur in several templates
    return template, media, rng.random(NUM_FACES).astype(np.float32), rng.normal(size=(NUM_FACES, DIM)) * 5


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("keep_norms", [True, False])
def test_medias_are_averaged_and_summed_as_the_published_code_does(scored: bool, keep_norms: bool) -> None:
    """By loops over templates and medias: weigh, average a media, sum a template, unit length."""
    template, media, score, features = _lists()
    used = features if keep_norms else features / np.linalg.norm(features, axis=1, keepdims=True)
    used = used * score[:, None] if scored else used
    expected = []
    for each in range(NUM_TEMPLATES):
        summed = np.zeros(DIM)
        for one in set(media[template == each].tolist()):
            summed += np.mean([used[f] for f in range(NUM_FACES) if template[f] == each and media[f] == one], axis=0)
        expected.append(summed / np.sqrt((summed**2).sum()))
    weights = face_weights(template, media, score if scored else None)
    batches = [features[start : start + 7].astype(np.float32) for start in range(0, NUM_FACES, 7)]
    found = template_vectors(batches, template, weights, NUM_TEMPLATES, keep_norms=keep_norms)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_long_video_counts_no_more_than_a_picture() -> None:
    """Ninety-nine faces of one media and one of another weigh alike."""
    weights = face_weights(np.zeros(100, np.int64), np.repeat([0, 1], [99, 1]))
    assert weights[:99].sum() == pytest.approx(weights[99])


@pytest.mark.parametrize("block_pairs", [1, 7, 1000])
def test_pairs_are_scored_alike_whatever_the_block(block_pairs: int) -> None:
    """Each score is the product of both unit vectors, never over one."""
    rng = np.random.default_rng(1)
    unit = rng.normal(size=(20, DIM)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    first, second = rng.integers(0, 20, (2, 100), np.int32)
    done: list[int] = []
    found = pair_scores(unit, first, second, block_pairs=block_pairs, progress=done.append)
    np.testing.assert_allclose(found, [float(unit[a] @ unit[b]) for a, b in zip(first, second, strict=True)], atol=1e-6)
    assert found.dtype == np.float32
    assert sum(done) == 100
    assert found.max() <= 1


def test_a_template_whose_faces_weigh_nothing_is_an_error() -> None:
    """A detector's score of 0 on its only face leaves no direction."""
    with pytest.raises(EvaluationError, match="1 templates sum to a zero vector"):
        template_vectors([np.eye(2)], np.array([0, 1]), np.array([1.0, 0.0]), 2)


def test_too_few_embeddings_are_an_error() -> None:
    """Three of four faces, and none at all, are no template set."""
    with pytest.raises(EvaluationError, match="3 embeddings for 4 faces"):
        template_vectors([np.ones((3, 2))], np.zeros(4, np.int64), np.ones(4), 1)
    with pytest.raises(EvaluationError, match="0 embeddings"):
        template_vectors([], np.zeros(4, np.int64), np.ones(4), 1)

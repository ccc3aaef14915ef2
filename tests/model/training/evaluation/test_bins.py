import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.training.dataset import DataError
from model.training.evaluation.bins import find_bins, measure_bin
from model.training.evaluation.embedding import embed_batches
from model.training.evaluation.validation import EvaluationError
from tests.model.training.evaluation.photographs import crops, encoded, lit, write_bin

NUM_PAIRS = 20


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An embedding that can be worked out by hand: coarse brightness, as it deviates from the crop's mean."""
    blocks = images.astype(np.float32).reshape(len(images), 8, 14, 8, 14, 3).mean((2, 4, 5)).reshape(len(images), 64)
    return np.asarray(blocks - blocks.mean(1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def pairs(six_faces_path: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8], bool]]:
    """Same: a face in two lights. Different: two faces of the photograph."""
    found = crops(six_faces_path)
    made = []
    for number in range(NUM_PAIRS):
        same = number % 2 == 0
        a, b = number % 6, number % 6 if same else (number + 1 + number // 6) % 6
        made.append((found[a], lit(found[b], 0.6 + 0.02 * number), same))
    return made


@pytest.fixture(scope="module")
def lfw(
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8], bool]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    images = [encoded(crop) for a, b, _ in pairs for crop in (a, b)]
    return write_bin(tmp_path_factory.mktemp("bins") / "lfw.bin", images, [same for *_, same in pairs])


def test_a_set_is_measured_as_the_published_code_measures_it(
    lfw: Path, pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8], bool]]
) -> None:
    """Embeddings of crop and mirror image summed, unit length, squared distance, ten folds: by a plain loop."""
    distances = []
    for a, b, _ in pairs:
        summed = []
        for crop in (a, b):
            both = _pixels(crop[None])[0].astype(np.float64) + _pixels(crop[None, :, ::-1])[0]
            summed.append(both / np.sqrt((both**2).sum()))
        distances.append(((summed[0] - summed[1]) ** 2).sum())
    accuracies = []
    for fold in range(10):
        rest = [p for p in range(NUM_PAIRS) if p // 2 != fold]
        scores = [sum((distances[p] < t) == pairs[p][2] for p in rest) for t in np.arange(0, 4, 0.01)]
        chosen = np.arange(0, 4, 0.01)[int(np.argmax(scores))]
        accuracies.append(np.mean([(distances[p] < chosen) == pairs[p][2] for p in (2 * fold, 2 * fold + 1)]))
    found = {row.metric: row for row in measure_bin(lfw, _pixels, batch_size=7).measures}
    assert found["accuracy_10fold_grid"].value == pytest.approx(np.mean(accuracies))
    assert found["accuracy_10fold_grid_std"].value == pytest.approx(np.std(accuracies))
    assert found["accuracy_10fold_grid"].dataset == "lfw.bin"
    assert found["accuracy_10fold_grid"].num_samples == NUM_PAIRS
    assert 0.5 < found["accuracy_10fold_grid"].value <= 1
    assert abs(found["accuracy_10fold"].value - found["accuracy_10fold_grid"].value) < 0.2


def test_the_mirror_image_is_added_unless_it_is_left_out(lfw: Path) -> None:
    """An embedding that sees the left half alone is asked for both images with the flip, for one without."""
    asked: list[int] = []

    def left(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(images))
        return _pixels(images)[:, ::2] + 0.1

    flipped = measure_bin(lfw, left, batch_size=16)
    assert asked == [16, 16, 16, 16, 8, 8]
    asked.clear()
    plain = measure_bin(lfw, left, flip=False, batch_size=16)
    assert asked == [16, 16, 8]
    assert flipped.curves[0] != plain.curves[0]


def test_a_model_that_knows_everybody_is_perfect_and_a_guessing_one_is_not(tmp_path: Path) -> None:
    """One axis a person judges all pairs right; vectors drawn by chance judge about half of 400."""
    same = [number % 2 == 0 for number in range(400)]
    people = [number for pair in range(400) for number in (pair, pair if same[pair] else pair + 1)]
    images = [np.full((112, 112, 3), (person // 256, person % 256, 0), np.uint8) for person in people]
    path = write_bin(tmp_path / "agedb_30.bin", [encoded(image) for image in images], same)
    axes = np.eye(512, dtype=np.float32)
    rng = np.random.default_rng(0)

    def knows(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return axes[images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]]

    found = {row.metric: row.value for row in measure_bin(path, knows, batch_size=100).measures}
    assert (found["accuracy_10fold_grid"], found["accuracy_10fold"], found["eer"]) == (1, 1, 0)
    guess = measure_bin(path, lambda images: rng.normal(size=(len(images), 64)).astype(np.float32), batch_size=100)
    found = {row.metric: row.value for row in guess.measures}
    assert 0.4 < found["accuracy_10fold_grid"] < 0.6
    assert 0.4 < found["eer"] < 0.6


def test_a_set_is_drawn_and_its_progress_told(lfw: Path) -> None:
    """The curve counts both kinds of pairs, and the crops done add up to those of the file."""
    told: list[tuple[int, int]] = []
    found = measure_bin(lfw, _pixels, batch_size=16, progress=lambda num, total: told.append((num, total)))
    assert (found.curves[0].num_genuine, found.curves[0].num_impostor) == (10, 10)
    assert told == [(16, 40), (16, 40), (8, 40)]


def test_crops_of_another_side_are_brought_to_the_sets(tmp_path: Path) -> None:
    """A set at twice the size is asked for at 112 pixels."""
    sides: list[int] = []

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        sides.append(images.shape[1])
        return _pixels(images) + 1

    big = encoded(np.zeros((224, 224, 3), np.uint8))
    measure_bin(write_bin(tmp_path / "big.bin", [big] * 40, [True, False] * 10), embed)
    assert set(sides) == {112}


@pytest.mark.parametrize(
    ("image", "same", "words"),
    [
        (b"no image", [True, False] * 10, "odd.bin: image 0 cannot be decoded"),
        (encoded(np.zeros((100, 112, 3), np.uint8)), [True, False] * 10, "image 0 is 112 x 100; an aligned crop is sq"),
        (encoded(np.zeros((112, 112, 3), np.uint8)), [True, False] * 4, "odd.bin: 8 pairs are too few for 10 folds"),
        (encoded(np.zeros((112, 112, 3), np.uint8)), [True] * 20, "odd.bin: an equal error rate needs one impostor"),
    ],
)
def test_a_set_that_cannot_be_judged_is_one_clear_line(
    tmp_path: Path, image: bytes, same: list[bool], words: str
) -> None:
    """An image that is none, one that is no square, too few pairs and pairs of one kind name the file."""
    path = write_bin(tmp_path / "odd.bin", [image] * (2 * len(same)), same)
    with pytest.raises(DataError, match=re.escape(words)) as error:
        measure_bin(path, lambda images: _pixels(images) + 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.full((4, 8), np.nan, np.float32), "not finite"),
        (np.zeros((4, 8), np.float32), "embedding of zeros"),
        (np.ones((3, 8), np.float32), "3 embeddings for 4 faces"),
    ],
)
def test_broken_embeddings_end_with_a_clear_line(answer: NDArray[np.float32], words: str) -> None:
    """NaNs, zeros and another number of answers are named."""
    with pytest.raises(EvaluationError, match=words):
        list(embed_batches(lambda _: answer, [np.zeros((112, 112, 3), np.uint8)] * 4))


def test_sets_are_found_by_file_and_by_folder(lfw: Path, tmp_path: Path) -> None:
    """A folder stands for all its .bin files; none at all is an error."""
    assert find_bins(lfw) == (lfw,)
    assert find_bins(lfw.parent) == (lfw,)
    with pytest.raises(DataError, match=r"holds no NAME\.bin"):
        find_bins(tmp_path)
    with pytest.raises(DataError, match="no verification set at"):
        find_bins(tmp_path / "absent.bin")


def test_gray_jpegs_are_read_as_colour(tmp_path: Path, six_faces_path: Path) -> None:
    """A set of grey JPEGs, as old photographs are, has three channels."""
    grey = np.asarray(Image.fromarray(crops(six_faces_path)[0]).convert("L"))
    path = write_bin(tmp_path / "grey.bin", [encoded(grey, "JPEG")] * 40, [True, False] * 10)
    seen: list[tuple[int, ...]] = []

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(images.shape[1:])
        return _pixels(images)

    measure_bin(path, embed)
    assert set(seen) == {(112, 112, 3)}

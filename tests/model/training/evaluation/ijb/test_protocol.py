import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform

from model.training.dataset import DataError
from model.training.evaluation.ijb.layout import read_templates
from model.training.evaluation.ijb.protocol import TemplateOptions, measure_templates
from tests.model.training.evaluation.ijb.lists import Face, loose_crops, write_lists
from tests.model.training.evaluation.photographs import lit

# The template as the published code writes it down, before its shift by 8 pixels.
PUBLISHED = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]], np.float32
)
NUM_TEMPLATES = 24


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Coarse brightness, as it deviates from the crop's mean: its length varies with the contrast."""
    blocks = images.astype(np.float32).reshape(len(images), 8, 14, 8, 14, 3).mean((2, 4, 5)).reshape(len(images), 64)
    return np.asarray(blocks - blocks.mean(1, keepdims=True), np.float32)


def _published_crop(pixels: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    target = PUBLISHED + np.array([8, 0], np.float32)
    matrix = SimilarityTransform.from_estimate(landmarks, target).params[:2]
    return np.asarray(cv2.warpAffine(pixels, matrix, (112, 112), borderValue=0.0), np.uint8)


@pytest.fixture(scope="module")
def images(six_faces_path: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Six faces in four lights each but one: taken in turn, they put wrong faces into later templates."""
    found = loose_crops(six_faces_path)
    return [(lit(pixels, light), points) for light in (0.7, 0.9, 1.1, 1.3) for pixels, points in found][:-1]


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    """Template t is of person t mod 6; two pictures and a video of two frames in every third."""
    made = []
    for number in range(NUM_TEMPLATES * 3):
        template = number % NUM_TEMPLATES
        media = template if number < 2 * NUM_TEMPLATES and template % 3 == 0 else 1000 + number
        made.append(Face(template + 5, media, 0.5 + (number % 7) / 14))
    return made


@pytest.fixture(scope="module")
def pairs() -> list[tuple[int, int, int]]:
    return [(a + 5, b + 5, int(a % 6 == b % 6)) for a, b in itertools.combinations(range(NUM_TEMPLATES), 2)]


@pytest.fixture(scope="module")
def folder(
    images: list[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    faces: list[Face],
    pairs: list[tuple[int, int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return write_lists(tmp_path_factory.mktemp("IJBC"), "ijbc", faces, pairs, images)


@pytest.mark.parametrize(
    "options", [TemplateOptions(), TemplateOptions(False, False, False), TemplateOptions(True, False, True)]
)
def test_rates_are_those_of_a_plain_reading_of_the_published_code(
    folder: Path,
    images: list[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    faces: list[Face],
    pairs: list[tuple[int, int, int]],
    options: TemplateOptions,
) -> None:
    """Crops by scikit-image's transform, sums by loops, rates by counting: the same TAR at every rate there is."""
    features = []
    for number, face in enumerate(faces):
        pixels, landmarks = images[number % len(images)]
        crop = _published_crop(pixels, np.round(landmarks, 3))
        feature = _pixels(crop[None])[0].astype(np.float64)
        if options.flip:
            feature = feature + _pixels(np.fliplr(crop)[None])[0]
        if not options.feature_norm:
            feature = feature / np.sqrt((feature**2).sum())
        features.append(feature * (round(face.score, 3) if options.detector_score else 1))
    vectors = {}
    for template in {face.template for face in faces}:
        summed = np.zeros(64)
        for media in {face.media for face in faces if face.template == template}:
            rows = [i for i, face in enumerate(faces) if (face.template, face.media) == (template, media)]
            summed += np.mean([features[i] for i in rows], axis=0)
        vectors[template] = summed / np.sqrt((summed**2).sum())
    scores = np.array([float(vectors[a] @ vectors[b]) for a, b, _ in pairs])
    same = np.array([label == 1 for *_, label in pairs])
    found = measure_templates(read_templates(folder), _pixels, options, batch_size=11)
    values = {row.metric: row for row in found.measures}
    impostors = np.sort(scores[~same])[::-1]
    for rate in (1e-1, 1e-2):
        allowed = int(rate * len(impostors))
        expected = (scores[same] > impostors[allowed] + 1e-6).mean()
        row = values[f"tar_at_fmr_{rate:.0e}"]
        assert row.value == pytest.approx(expected)
        assert (row.dataset, row.num_samples) == ("ijbc", same.sum())
        assert values[f"threshold_at_fmr_{rate:.0e}"].value == pytest.approx(impostors[allowed], abs=1e-5)
    assert "tar_at_fmr_1e-03" not in values
    assert 0 < values["tar_at_fmr_1e-01"].value < 1


def test_a_rate_on_few_false_matches_is_marked_and_one_on_none_left_out(folder: Path) -> None:
    """Of 240 impostor pairs, 0.1 rests on 24 and 0.01 on two; 0.001 would rest on none."""
    told: dict[str, int] = {"faces": 0, "pairs": 0}

    def on_faces(num: int) -> None:
        told["faces"] += num

    def on_pairs(num: int) -> None:
        told["pairs"] += num

    found = measure_templates(read_templates(folder), _pixels, TemplateOptions(), on_faces=on_faces, on_pairs=on_pairs)
    assert "ijbc: an FMR of 0.01 rests on 2 false matches: the figure is rough" in found.notes
    assert "ijbc: an FMR of 0.001 needs 1,000 impostor pairs; there are 240" in found.notes
    assert not any("0.1 " in note for note in found.notes)
    assert (found.curves[0].num_genuine, found.curves[0].num_impostor) == (36, 240)
    assert told == {"faces": 3 * NUM_TEMPLATES, "pairs": 276}


def test_a_model_that_knows_everybody_is_perfect_and_one_that_guesses_is_not(folder: Path, faces: list[Face]) -> None:
    """One axis a person accepts every genuine pair at every rate; noise accepts about as many as impostors."""
    lists = read_templates(folder)
    order = itertools.count()
    axes = np.eye(6, dtype=np.float32)

    def knows(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([axes[(faces[next(order)].template - 5) % 6] for _ in images])

    found = {row.metric: row.value for row in measure_templates(lists, knows, TemplateOptions(flip=False)).measures}
    assert (found["tar_at_fmr_1e-02"], found["tar_at_fmr_1e-01"], found["eer"]) == (1, 1, 0)
    rng = np.random.default_rng(0)
    guess = measure_templates(
        lists, lambda images: rng.normal(size=(len(images), 64)).astype(np.float32), TemplateOptions()
    )
    found = {row.metric: row.value for row in guess.measures}
    assert found["tar_at_fmr_1e-01"] < 0.35
    assert 0.35 < found["eer"] < 0.65


def test_an_image_that_is_missing_or_broken_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    """The file is named, and so is a folder whose pairs are all of one kind."""
    lists = read_templates(folder)
    broken = write_lists(
        tmp_path,
        "ijbb",
        [Face(1, 1, 1), Face(2, 2, 1)],
        [(1, 2, 1)],
        [(np.full((60, 60, 3), 9, np.uint8), lists.landmarks[0])],
    )
    with pytest.raises(DataError, match="ijbb: the pairs are all of one kind"):
        measure_templates(read_templates(broken), lambda images: _pixels(images) + 1, TemplateOptions())
    (broken / "loose_crop" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cannot read .*1\.png"):
        measure_templates(read_templates(broken), lambda images: _pixels(images) + 1, TemplateOptions())
    (broken / "loose_crop" / "1.png").unlink()
    with pytest.raises(DataError, match=r"cannot read .*1\.png: No such file"):
        measure_templates(read_templates(broken), lambda images: _pixels(images) + 1, TemplateOptions())

"""Calibration on listed pairs: each form of list, against the pack's own graph asked directly, and what is refused."""

import csv
import io
import itertools
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from export.cli import main
from export.errors import ExportError
from export.listed_pairs import Photographs
from export.pair_calibration import recalibrate_on_pairs
from model.runtime.alignment import five_point_matrix, warp
from model.runtime.detection import Detector
from model.runtime.pack import DEFAULT_PACK, PACKS_DIR, read_pack, verify_pack
from model.runtime.session import open_session
from model.training.data_error import DataError
from tests.model.training.faces import webp, write_rows

Crop = NDArray[np.uint8]
NUM_PAIRS = 1300  # of each kind: a rate of 1e-2 rests on thirteen false matches, 1e-3 on one


@pytest.fixture(scope="module")
def crops() -> Crop:
    """Forty blurred noises of twenty "people", (40, 112, 112, 3): rows 2p and 2p + 1 are alike."""
    rng = np.random.default_rng(2)
    bases = np.repeat(rng.integers(0, 256, (20, 8, 8, 3)), 2, axis=0).astype(np.float64)
    coarse = np.clip(bases + rng.normal(0, 25, bases.shape), 0, 255).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((112, 112), Image.Resampling.BICUBIC)) for one in coarse])


def png(pixels: Crop) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def listed(num_images: int, num_pairs: int = NUM_PAIRS) -> list[tuple[int, int, bool]]:
    """Pairs by row: the genuine ones again and again, then impostors, each another pair as long as there are any."""
    genuine = [(row, row + 1, True) for row in range(0, num_images, 2)]
    impostor = [(a, b, False) for a, b in itertools.combinations(range(num_images), 2) if a // 2 != b // 2]
    again = [list(itertools.islice(itertools.cycle(pairs), num_pairs)) for pairs in (genuine, impostor)]
    return [*again[0], *again[1]]


def write_bin(path: Path, images: Sequence[bytes], pairs: Sequence[tuple[int, int, bool]]) -> Path:
    """InsightFace's form: a pickled pair of 2P encoded images and P booleans."""
    flat = [images[row] for first, second, _ in pairs for row in (first, second)]
    path.write_bytes(pickle.dumps((flat, [same for *_, same in pairs])))
    return path


def similarities(pack: Path, crops: Crop, pairs: Sequence[tuple[int, int, bool]]) -> dict[bool, NDArray[np.float64]]:
    """Cosines by the pack's own graph, one crop at a time."""
    session = open_session(pack / read_pack(pack).analyzers[0].file)
    rows = np.concatenate([session.run({"images": crop[None]}, ["embedding"])["embedding"] for crop in crops])
    return {
        kind: np.array([float(rows[a] @ rows[b]) for a, b, same in pairs if same is kind]) for kind in (True, False)
    }


def run(pack: Path, *arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["calibrate", str(pack), *map(str, arguments)])
    assert "Traceback" not in done.output
    return done.exit_code, done.stderr if done.exit_code else done.stdout


def test_a_bin_file_calibrates_on_its_own_pairs(own_pack: Path, crops: Crop, tmp_path: Path) -> None:
    """Thresholds, TAR and counts are those of the listed pairs by brute force; the manifest says they are listed."""
    pairs = listed(len(crops))
    path = write_bin(tmp_path / "lfw.bin", [png(crop) for crop in crops], pairs)
    before = {file: file.read_bytes() for file in own_pack.rglob("*.onnx")}
    code, said = run(own_pack, "--pairs", path)
    assert code == 0, said
    found = read_pack(own_pack).verification
    assert found is not None
    assert found.calibrated_on == "the listed pairs of lfw.bin, not every pair"
    assert (found.num_images, found.num_genuine_pairs, found.num_impostor_pairs) == (40, NUM_PAIRS, NUM_PAIRS)
    assert [row.fmr for row in found.thresholds] == [1e-2]  # 1e-3 would rest on one false match
    scores = similarities(own_pack, crops, pairs)
    ranked = np.sort(scores[False])[::-1]
    (row,) = found.thresholds
    assert ranked[13] - 1e-6 <= row.threshold <= ranked[12] + 1e-6
    assert row.tar == pytest.approx((scores[True] >= row.threshold - 1e-6).mean(), abs=0.06)
    assert "1,300 impostor and 1,300 genuine pairs" in said
    assert "the listed pairs of lfw.bin, not every pair: 40 images" in (own_pack / "CARD.md").read_text()
    verify_pack(own_pack, read_pack(own_pack), checkpoints=True)
    assert {file: file.read_bytes() for file in before} == before


def test_several_lists_are_taken_together(own_pack: Path, crops: Crop, tmp_path: Path) -> None:
    """Two lists of too few pairs each suffice together; a folder names all of its lists, each once."""
    images, folder = [png(crop) for crop in crops], tmp_path / "bins"
    folder.mkdir()
    pairs = listed(len(crops), 700)
    first = write_bin(folder / "agedb_30.bin", images, pairs[:1000])
    write_bin(folder / "lfw.bin", images, pairs)
    with pytest.raises(ExportError, match="300 impostor and 700 genuine pairs are too few"):
        recalibrate_on_pairs(own_pack, [first], Progress(disable=True))
    assert read_pack(own_pack).verification is None
    found = recalibrate_on_pairs(own_pack, [folder, first], Progress(disable=True))
    assert (found.num_impostor_pairs, found.num_genuine_pairs) == (1000, 1400)
    assert found.calibrated_on == "the listed pairs of agedb_30.bin, lfw.bin, not every pair"


def test_this_projects_own_pairs_calibrate_as_listed(own_pack: Path, crops: Crop, tmp_path: Path) -> None:
    """`NAME-val-pairs.csv` beside its Parquet file gives the same thresholds as the same pairs in a `.bin`."""
    images = [webp(crop) for crop in crops[:30]]
    names = [f"{number}.png" for number in range(30)]
    write_rows(tmp_path / "mine-val.parquet", [{"name": n, "image": i} for n, i in zip(names, images, strict=True)])
    pairs = listed(30)
    with (tmp_path / "mine-val-pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fold", "name_a", "name_b", "same"])
        writer.writerows([number % 10, names[a], names[b], int(same)] for number, (a, b, same) in enumerate(pairs))
    found = recalibrate_on_pairs(own_pack, [tmp_path / "mine-val-pairs.csv"], Progress(disable=True))
    from_bin = write_bin(tmp_path / "mine.bin", images, pairs)
    again = recalibrate_on_pairs(own_pack, [from_bin], Progress(disable=True))
    assert found.calibrated_on == "the listed pairs of mine-val-pairs.csv, not every pair"
    assert found.thresholds == again.thresholds
    assert found.num_images == again.num_images == 30


@pytest.fixture(scope="module")
def lfw(tmp_path_factory: pytest.TempPathFactory, six_faces_path: Path) -> Path:
    """LFW's layout with the real faces of a photograph: six people, two pictures of 250 pixels each, and `pairs.txt`.

    The last person's second picture shows nobody.
    """
    folder = tmp_path_factory.mktemp("lfw")
    pack = read_pack(PACKS_DIR / DEFAULT_PACK)
    detector = Detector(open_session(PACKS_DIR / DEFAULT_PACK / pack.detector.file), pack.detector)
    image = np.asarray(Image.open(six_faces_path).convert("RGB"))
    (found,) = detector.detect([image])
    for number, points in enumerate(found.landmarks):
        name = f"Person_{chr(65 + number)}"
        (folder / "lfw" / name).mkdir(parents=True)
        for count, zoom in ((1, 1.0), (2, 0.9)):
            matrix = five_point_matrix(points, 112) * zoom
            matrix[:, 2] += 69 + 56 * (1 - zoom)
            picture = warp(image, matrix, 250)
            if (number, count) == (5, 2):
                picture = np.zeros_like(picture)
            Image.fromarray(picture).save(folder / "lfw" / name / f"{name}_{count:04d}.jpg", quality=95)
    rows = listed(12)
    names = [f"Person_{chr(65 + row // 2)}\t{row % 2 + 1}" for row in range(12)]
    lines = [f"{names[a]}\t{names[b].split()[1]}" if same else f"{names[a]}\t{names[b]}" for a, b, same in rows]
    (folder / "pairs.txt").write_text("\n".join([f"1\t{NUM_PAIRS}", *lines]) + "\n")
    return folder


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """A copy of the shipped pack, whose detector finds real faces."""
    return Path(shutil.copytree(PACKS_DIR / DEFAULT_PACK, tmp_path / "nano"))


def test_lfws_photographs_are_aligned_by_the_packs_own_detector(lfw: Path, nano: Path) -> None:
    """pairs.txt names photographs; a picture without a face takes its pairs out, and the manifest counts them."""
    code, said = run(nano, "--pairs", lfw)
    assert code == 0, said
    found = read_pack(nano).verification
    assert found is not None
    lost = [(a, b, same) for a, b, same in listed(12) if 11 in (a, b)]
    assert found.calibrated_on == (
        f"the listed pairs of pairs.txt, not every pair; {len(lost):,} pairs left out: no face found"
    )
    assert found.num_images == 11
    assert found.num_genuine_pairs == NUM_PAIRS - sum(same for *_, same in lost)
    assert found.num_impostor_pairs == NUM_PAIRS - sum(not same for *_, same in lost)
    # Two pictures of one person are nearer than two people's, so the threshold accepts every one.
    assert [row.tar for row in found.thresholds] == [1.0]


def test_lfws_photographs_may_lie_elsewhere_and_be_crops_already(lfw: Path, nano: Path, tmp_path: Path) -> None:
    """`--images` says where they are; `--aligned` compares the whole pictures, the black one too."""
    alone = tmp_path / "lists"
    alone.mkdir()
    shutil.copyfile(lfw / "pairs.txt", alone / "pairs.txt")
    code, said = run(nano, "--pairs", alone / "pairs.txt", "--images", lfw / "lfw", "--aligned")
    assert code == 0, said
    found = read_pack(nano).verification
    assert found is not None
    assert (found.num_images, found.num_genuine_pairs) == (12, NUM_PAIRS)


def test_a_photograph_that_is_missing_is_named(lfw: Path, nano: Path, tmp_path: Path) -> None:
    """A list that names a photograph that is not there is refused, in one line."""
    shutil.copytree(lfw, tmp_path / "lfw")
    (tmp_path / "lfw" / "lfw" / "Person_B" / "Person_B_0002.jpg").unlink()
    code, said = run(nano, "--pairs", tmp_path / "lfw")
    assert (code, said.count("\n")) == (1, 1)
    assert "names Person_B_0002, and there is no such photograph (1 are missing)" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.bin", "no list of pairs at"),
        ("letter.txt", "is no list of pairs: NAME.bin, pairs.txt and NAME-val-pairs.csv are read"),
        ("torn.bin", "torn.bin is no verification set"),
        ("small.bin", "are too few to calibrate on"),
        ("folder", "holds no pairs.txt, no NAME.bin and no NAME-val-pairs.csv"),
        ("oblong.bin", "oblong.bin: image 0 is 96 x 112; an aligned crop is square"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(
    own_pack: Path, crops: Crop, tmp_path: Path, name: str, words: str
) -> None:
    """What is wrong is said in one line, exit code 1, and the pack stays as it is."""
    (tmp_path / "letter.txt").write_text("Dear reader")
    (tmp_path / "torn.bin").write_bytes(b"\x80\x02]")
    (tmp_path / "folder").mkdir()
    write_bin(tmp_path / "small.bin", [png(crop) for crop in crops[:4]], listed(4, 8))
    write_bin(tmp_path / "oblong.bin", [png(crop[:, :96]) for crop in crops[:4]], listed(4, 8))
    before = (own_pack / "pack.json").read_bytes()
    code, said = run(own_pack, "--pairs", tmp_path / name)
    assert (code, said.count("\n")) == (1, 1)
    assert words in said
    assert (own_pack / "pack.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "state either --data or --pairs"),
        (["--data", ".", "--pairs", "lfw.bin"], "state either --data or --pairs"),
        (["--data", ".", "--aligned"], "--images and --aligned go with --pairs"),
    ],
)
def test_options_that_do_not_go_together_are_refused(own_pack: Path, arguments: list[str], words: str) -> None:
    """Either every pair of a set or listed pairs; a usage error says so."""
    code, said = run(own_pack, *arguments)
    assert code == 2
    assert words in said


def test_a_real_lists_threshold_is_near_that_of_all_pairs(nano: Path, shared_data: Path) -> None:
    """On CelebA's listed pairs the shipped pack gets nearly the threshold and TAR that were measured on every pair."""
    of_all = {figure.metric: figure.value for figure in read_pack(nano).measured if figure.dataset == "celeba"}
    found = recalibrate_on_pairs(nano, [shared_data / "celeba-val-pairs.csv"], Progress(disable=True), Photographs())
    assert (found.num_impostor_pairs, found.num_genuine_pairs) == (3000, 3000)
    (row,) = found.thresholds
    assert row.threshold == pytest.approx(of_all["threshold_at_fmr_1e-02"], abs=0.05)
    assert row.tar == pytest.approx(of_all["tar_at_fmr_1e-02"], abs=0.1)


def test_a_missing_set_is_named(own_pack: Path, tmp_path: Path) -> None:
    """A csv without the Parquet file that it goes with is refused by that file's name."""
    (tmp_path / "mine-val-pairs.csv").write_text("fold,name_a,name_b,same\n")
    with pytest.raises(DataError, match=r"mine-val\.parquet"):
        recalibrate_on_pairs(own_pack, [tmp_path / "mine-val-pairs.csv"], Progress(disable=True))

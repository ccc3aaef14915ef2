"""Scores, files and figures of `mien match`, against plain double loops over every pair."""

import json
import math
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from service.match.accuracy import FMRS, Tally
from service.match.features import read_features
from service.match.scores import score_blocks
from tests.service.match.conftest import Match, People, make_people

Row = tuple[int, int, float]


def naive(probe: list[Path], gallery: list[Path] | None) -> tuple[list[Row], list[Row]]:
    """The published rules, a pair at a time."""
    found: tuple[list[Row], list[Row]] = ([], [])
    first, second = sorted(map(str, probe)), sorted(map(str, gallery or probe))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            label_a, label_b = ("/".join(name.removesuffix(".npy").split("/")[-2:]) for name in (a, b))
            if label_a == label_b or (gallery is None and j <= i):
                continue
            x, y = (np.load(name).astype(np.float64).tolist() for name in (a, b))
            dot = math.fsum(p * q for p, q in zip(x, y, strict=True))
            cosine = dot / math.sqrt(math.fsum(p * p for p in x)) / math.sqrt(math.fsum(q * q for q in y))
            same = a.split("/")[-1].split("_")[0] == b.split("/")[-1].split("_")[0]
            found[0 if same else 1].append((i, j, round(cosine, 6)))
    return found


def check_files(out: Path, name: str, authentic: list[Row], impostor: list[Row]) -> None:
    """The score files hold exactly these rows, in this order."""
    for kind, expected in (("authentic", authentic), ("impostor", impostor)):
        stored = np.load(out / f"{name}_{kind}.npy")
        assert (stored.dtype, stored.shape) == (np.float64, (len(expected), 3))
        assert stored.tolist() == [list(row) for row in expected]


def test_probes_among_themselves_are_scored_once_a_pair(match: Match, people: People, tmp_path: Path) -> None:
    """Without a gallery every pair is scored once, in the sorted order, whatever the list's; labels say of whom."""
    result = match("--probe", people.listed, "--out", tmp_path / "out", "--group", "g")
    assert result.exit_code == 0, result.stderr
    authentic, impostor = naive(list(people.files), None)
    assert (len(authentic), len(impostor)) == (7 * 10, 35 * 34 // 2 - 70)
    check_files(tmp_path / "out", "g", authentic, impostor)
    labels = (tmp_path / "out" / "g_labels.txt").read_text().splitlines()
    assert labels == [f"{index} some/{path.stem}" for index, path in enumerate(sorted(people.files))]
    assert not (tmp_path / "out" / "g_gallery_labels.txt").exists()
    assert list((tmp_path / "out").glob("*.part")) == []


def test_a_gallery_is_matched_but_for_the_same_labels(match: Match, people: People, tmp_path: Path) -> None:
    """With a gallery all pairs are scored but those of one folder and stem, wherever the folders lie."""
    other = make_people(tmp_path / "elsewhere", "some", num_people=6, num_each=3, seed=2, start=3)
    result = match("--probe", people.listed, "--gallery", other.listed, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    authentic, impostor = naive(list(people.files), list(other.files))
    assert len(authentic) == 4 * 5 * 3 - 12  # four people are in both, three labels of each too
    check_files(tmp_path / "out", "some", authentic, impostor)
    labels = (tmp_path / "out" / "some_gallery_labels.txt").read_text().splitlines()
    assert labels == [f"{index} some/{path.stem}" for index, path in enumerate(sorted(other.files))]


@pytest.mark.parametrize("block_pairs", [1, 36, 100, 10_000])
def test_blocks_of_any_size_give_the_same_pairs(people: People, block_pairs: int) -> None:
    """A block of one probe and a block of all give the same rows."""
    features = read_features(people.listed)
    for gallery in (None, features):
        whole = next(iter(score_blocks(features, gallery)))
        blocks = list(score_blocks(features, gallery, block_pairs))
        assert sum(block.num_probes for block in blocks) == len(features)
        assert np.array_equal(np.concatenate([block.authentic for block in blocks]), whole.authentic)
        assert np.array_equal(np.concatenate([block.impostor for block in blocks]), whole.impostor)


def naive_point(fmr: float, authentic: list[float], impostor: list[float]) -> tuple[float, float, float, int] | None:
    """The lowest six-decimal threshold from which no more than `fmr` of the impostors pass."""
    allowed = sum((count / len(impostor)) <= fmr for count in range(1, len(impostor) + 1))
    if not allowed:
        return None
    refused = sorted(impostor, reverse=True)[allowed]
    threshold = round(refused + 1e-6, 6)
    num_false = sum(score >= threshold for score in impostor)
    return threshold, sum(s >= threshold for s in authentic) / len(authentic), num_false / len(impostor), num_false


def naive_eer(authentic: list[float], impostor: list[float]) -> float:
    """Both errors' mean where they are nearest, over every threshold that makes a difference, the lowest first."""
    best = (2.0, 0.0)
    for threshold in sorted({*authentic, *impostor, *(round(s + 1e-6, 6) for s in authentic + impostor)}):
        fmr = sum(score >= threshold for score in impostor) / len(impostor)
        fnmr = sum(score < threshold for score in authentic) / len(authentic)
        if abs(fmr - fnmr) < best[0] - 1e-12:
            best = (abs(fmr - fnmr), (fmr + fnmr) / 2)
    return best[1]


def test_every_figure_is_what_a_double_loop_gives(match: Match, people: People, tmp_path: Path) -> None:
    """TAR, threshold and false matches at each FMR, EER, AUC and counts are those of all pairs looked at one by one."""
    result = match("--probe", people.listed, "--out", tmp_path, "--group", "g")
    assert result.exit_code == 0, result.stderr
    rows = naive(list(people.files), None)
    authentic, impostor = ([score for *_, score in kind] for kind in rows)
    report = json.loads((tmp_path / "g_report.json").read_text())
    assert (report["num_authentic"], report["num_impostor"]) == (len(authentic), len(impostor))
    assert (report["num_probe"], report["num_gallery"], report["num_subjects"]) == (35, None, 7)
    for point, fmr in zip(report["tar_at_fmr"], FMRS, strict=True):
        expected = naive_point(fmr, authentic, impostor)
        said = tuple(point[name] for name in ("threshold", "tar", "measured_fmr", "num_false_matches"))
        assert point["fmr"] == fmr
        assert said == ((None, None, None, 0) if expected is None else pytest.approx(expected, abs=1e-12))
    assert [point["tar"] is None for point in report["tar_at_fmr"]] == [False, False, True, True, True, True]
    wins = sum((a > i) + 0.5 * (a == i) for a in authentic for i in impostor)
    assert report["auc"] == pytest.approx(wins / len(authentic) / len(impostor), abs=1e-12)
    assert report["eer"] == pytest.approx(naive_eer(authentic, impostor), abs=1e-12)
    assert 0.5 < report["auc"] < 1  # neither chance nor perfect: the figures are worth comparing
    curve = np.loadtxt(tmp_path / "g_roc.csv", delimiter=",", skiprows=1)
    for threshold, fmr, tar in curve:
        assert fmr == pytest.approx(sum(s >= threshold - 1e-9 for s in impostor) / len(impostor), abs=1e-12)
        assert tar == pytest.approx(sum(s >= threshold - 1e-9 for s in authentic) / len(authentic), abs=1e-12)
    assert (curve[0, 1], curve[-1, 1]) == (0, 1)
    assert (np.diff(curve[:, 1]) > 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_figures_hold_with_ties_and_at_the_ends(seed: int) -> None:
    """Scores that coincide by the dozen, and -1 and 1 themselves, are counted as a loop counts them."""
    random = np.random.default_rng(seed)
    authentic = np.clip(random.normal(0.3, 0.5, 90), -1, 1).astype(np.float64).round(1 + seed % 3)
    impostor = np.clip(random.normal(-0.2, 0.5, 400), -1, 1).astype(np.float64).round(1 + seed % 3)
    tally = Tally()
    for part in range(3):
        tally.add(authentic[part::3], impostor[part::3])
    found = tally.accuracy()
    first, second = authentic.tolist(), impostor.tolist()
    for point in found.points:
        expected = naive_point(point.fmr, first, second)
        if expected is None:
            assert point.tar is None
        else:
            said = (point.threshold, point.tar, point.measured_fmr, point.num_false_matches)
            assert said == pytest.approx(expected, abs=1e-12)
    assert found.eer == pytest.approx(naive_eer(first, second), abs=1e-12)
    wins = sum((a > i) + 0.5 * (a == i) for a in first for i in second)
    assert found.auc == pytest.approx(wins / len(first) / len(second), abs=1e-12)


def test_the_picture_shows_the_curve(match: Match, people: People, tmp_path: Path) -> None:
    """The ROC is an SVG with its name in it, and a line that rises from left to right within the axes."""
    result = match("--probe", people.listed, "--out", tmp_path, "--group", "R&D <1>")
    assert result.exit_code == 0, result.stderr
    root = ElementTree.parse(tmp_path / "R&D <1>_roc.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "ROC: R&D <1>" in texts
    assert {"false-match rate", "true-accept rate", "1", "1e-1", "1.0"} <= set(texts)
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(points) > 20
    assert all(x1 < x2 and y1 >= y2 for (x1, y1), (x2, y2) in pairwise(points))
    assert all(70 <= x <= 616 and 44 <= y <= 424 for x, y in points)
    assert points[-1] == (616, 44)  # at an FMR of 1 everything passes

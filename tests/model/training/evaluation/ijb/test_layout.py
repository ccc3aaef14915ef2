import re
from pathlib import Path

import numpy as np
import pytest

from model.training.dataset import DataError
from model.training.evaluation.ijb.layout import read_templates
from tests.model.training.evaluation.ijb.lists import Face, write_lists

FACES = [Face(7, 100, 0.9), Face(7, 100, 0.8), Face(3, 101, 0.7), Face(12, 102, 0.99)]
PAIRS = [(7, 3, 1), (3, 12, 0), (12, 12, 1)]
IMAGE = (np.zeros((40, 40, 3), np.uint8), np.arange(10, dtype=np.float32).reshape(5, 2))


def _written(folder: Path, name: str = "ijbc") -> Path:
    return write_lists(folder, name, FACES, PAIRS, [IMAGE])


@pytest.mark.parametrize("name", ["ijbb", "ijbc"])
def test_both_sets_are_read_in_their_own_layout(tmp_path: Path, name: str) -> None:
    """Faces, landmarks, scores, medias and pairs are those of the files; templates are numbered from 0, ascending."""
    found = read_templates(_written(tmp_path, name))
    assert found.name == name
    assert found.files == ("0.png", "1.png", "2.png", "3.png")
    assert found.template_ids.tolist() == [3, 7, 12]
    assert found.template.tolist() == [1, 1, 0, 2]
    assert found.media.tolist() == [100, 100, 101, 102]
    assert found.score == pytest.approx([0.9, 0.8, 0.7, 0.99])
    assert found.landmarks[0].tolist() == IMAGE[1].tolist()
    assert (found.first.tolist(), found.second.tolist()) == ([1, 0, 2], [0, 2, 2])
    assert found.same.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "face_tid_mid",
            "2.png 3 101",
            "2.png 3",
            "ijbc_face_tid_mid.txt: CSV parse error: Row #3: Expected 3 columns",
        ),
        ("face_tid_mid", "2.png 3 101", "2.png x 101", "invalid value 'x'"),
        ("face_tid_mid", "2.png 3", "9.png 3", "line 3: names 9.png where ijbc_name_5pts_score.txt names 2.png"),
        ("face_tid_mid", "3.png 12 102\n", "", "has 3 lines and"),
        ("name_5pts_score", "0.990", "nan", "a landmark or a score is not finite"),
        ("name_5pts_score", "0.990", "", "invalid value ''"),
        ("template_pair_label", "12 12 1", "12 12 2", "line 3: a label is 0 or 1, not 2"),
        ("template_pair_label", "12 12 1", "12 13 1", "line 3: template 13 has no faces"),
        ("template_pair_label", "7 3 1", "-4 3 1", "line 1: template -4 has no faces"),
    ],
)
def test_a_list_that_breaks_the_form_is_one_clear_line(
    tmp_path: Path, file: str, old: str, new: str, words: str
) -> None:
    """The file and what is wrong in it are named."""
    path = _written(tmp_path) / "meta" / f"ijbc_{file}.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=re.escape(words)) as error:
        read_templates(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    """No meta/, no list, both sets at once, an empty list and no images are one line each."""
    with pytest.raises(DataError, match="holds no folder meta/"):
        read_templates(tmp_path)
    (tmp_path / "meta").mkdir()
    with pytest.raises(DataError, match=r"holds neither ijbb_face_tid_mid\.txt nor ijbc_face_tid_mid\.txt"):
        read_templates(tmp_path)
    _written(tmp_path, "ijbb")
    _written(tmp_path, "ijbc")
    with pytest.raises(DataError, match="holds both"):
        read_templates(tmp_path)
    (tmp_path / "meta" / "ijbb_face_tid_mid.txt").unlink()
    (tmp_path / "meta" / "ijbc_template_pair_label.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read .*ijbc_template_pair_label\.txt"):
        read_templates(tmp_path)
    (tmp_path / "meta" / "ijbc_template_pair_label.txt").write_text("")
    with pytest.raises(DataError, match=r"ijbc_template_pair_label\.txt"):
        read_templates(tmp_path)
    _written(tmp_path)
    for image in (tmp_path / "loose_crop").iterdir():
        image.unlink()
    (tmp_path / "loose_crop").rmdir()
    with pytest.raises(DataError, match="no folder loose_crop/"):
        read_templates(tmp_path)

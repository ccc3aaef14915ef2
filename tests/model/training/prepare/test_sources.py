"""Tests of model.training.prepare.sources."""

from pathlib import Path

import pytest

from model.training.data_error import DataError
from model.training.prepare.sources import ImageFinder, Sources, count_lines, read_lines, read_table


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of folders: one list at two depths, images of several suffixes, and other files."""
    for name in ("b/deep/list.txt", "a/LIST.txt", "a/2.JPG", "a/1.png", "b/3.webp", "b/notes.md", "0.jpeg"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return tmp_path / "tree"


def test_find(tree: Path) -> None:
    """The shallowest file of the first name that there is, is found, whatever its case; folders too."""
    sources = Sources([tree])
    assert sources.find("list.txt") == tree / "a" / "LIST.txt"
    assert sources.find("absent", "notes.md") == tree / "b" / "notes.md"
    assert sources.find("deep") == tree / "b" / "deep"
    assert sources.find("absent") is None
    assert Sources([tree / "b" / "notes.md"]).find("notes.md") == tree / "b" / "notes.md"


def test_images_in_order(tree: Path) -> None:
    """Every image file, folder after folder, in the order of their names; nothing else."""
    names = [str(path.relative_to(tree)) for path in Sources([tree]).images()]
    assert names == ["0.jpeg", "a/1.png", "a/2.JPG", "b/3.webp"]


def test_matching(tree: Path) -> None:
    """Files whose whole name matches are found at every depth."""
    assert [path.name for path in Sources([tree]).matching(r"(list|notes)\..+")] == ["LIST.txt", "list.txt", "notes.md"]


def test_missing(tree: Path) -> None:
    """A path that is not there and a set without its list are one clear line each."""
    with pytest.raises(DataError, match=r"no file or folder at .*gone"):
        Sources([tree, tree / "gone"])
    with pytest.raises(DataError, match=r"tree is not laid out as a set: there is no one.txt and no two.txt"):
        Sources([tree]).need("a set", "one.txt", "two.txt")


def test_image_finder(tree: Path) -> None:
    """Images are found under any of the folders, by any of their names, and by absolute paths."""
    finder = ImageFinder([tree / "absent", tree / "a", tree / "b"])
    assert finder.find("x.png", "3.webp") == tree / "b" / "3.webp"
    assert finder.find("1.png") == tree / "a" / "1.png"
    assert finder.find(str(tree / "0.jpeg")) == tree / "0.jpeg"
    assert finder.find("0.jpeg") is None


def test_lines(tmp_path: Path) -> None:
    """Blank lines are passed over, numbers are those of the file, a byte order mark is no text."""
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa b\r\n\n  c;  d e\n")
    assert [(line.number, line.words) for line in read_lines(path)] == [(1, ("a", "b")), (3, ("c;", "d", "e"))]
    assert read_lines(path, ";")[1].words == ("c", "d e")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"list.txt is no text"):
        read_lines(path)
    for read in (read_lines, count_lines):
        with pytest.raises(DataError, match="cannot read"):
            read(tmp_path / "absent")


def test_table(tmp_path: Path) -> None:
    """Rows come by column name, white space cut off; a missing column or a broken table is one clear line."""
    path = tmp_path / "table.csv"
    path.write_text(' Name, "Big Value"\n a ,"1, 2"\nb\n')
    assert list(read_table(path, ("name",))) == [{"name": "a", "big value": "1, 2"}, {"name": "b"}]
    with pytest.raises(DataError, match="lacks the column 'age'"):
        list(read_table(path, ("name", "age")))
    path.write_bytes(b"name\n\xff\xfe\n")
    with pytest.raises(DataError, match="is no table"):
        list(read_table(path, ("name",)))
    with pytest.raises(DataError, match="cannot read"):
        list(read_table(tmp_path / "absent", ()))

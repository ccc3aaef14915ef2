"""Sources: what a list, a folder, a glob and an image are read as."""

from pathlib import Path

import pytest

from service.extract.sources import Source, SourceError
from tests.packs import photo

PICTURE = photo()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures and other files, some of them hidden, in folders; file endings that say nothing."""
    for name in ("b/2.jpg", "b/10.jpg", "a/1.png", "a/deep/er/x.weird", ".hidden/h.png", "a/.h.png", "c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    (tmp_path / "a" / "notes.png").write_text("no picture, whatever it is called")
    return tmp_path


def names(source: Source, root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in source.paths()]


def test_a_folder_gives_every_image_by_content(tree: Path) -> None:
    """Images at any depth by their bytes, folder by folder by name; others are passed over and counted."""
    source = Source(str(tree))
    assert names(source, tree) == ["a/1.png", "a/deep/er/x.weird", "b/10.jpg", "b/2.jpg", "c.png"]
    assert source.num_passed == 1
    assert Source(str(tree)).count() == 6


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["c.png"]),
        ("*/*.jpg", ["b/10.jpg", "b/2.jpg"]),
        ("b/?.jpg", ["b/2.jpg"]),
        ("**/*.png", ["a/1.png", "a/notes.png", "c.png"]),
        ("a/**", ["a/1.png", "a/deep/er/x.weird", "a/notes.png"]),
        ("**/deep/**/*", ["a/deep/er/x.weird"]),
        ("[ab]/1*", ["a/1.png", "b/10.jpg"]),
        ("a/.*", ["a/.h.png"]),
        ("*.gif", []),
    ],
)
def test_a_glob_gives_what_fits_it_in_the_folders_order(tree: Path, pattern: str, found: list[str]) -> None:
    """`*`, `?`, `[...]` stay within a name, `**` is any depth; hidden names are left out unless asked for."""
    assert names(Source(f"{tree}/{pattern}"), tree) == found


def test_a_list_is_taken_line_by_line_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first column is the path, whatever follows; blank lines are nothing; nothing is sorted or checked."""
    (tmp_path / "with space.png").write_bytes(PICTURE)
    listed = tmp_path / "list.txt"
    listed.write_text('z.png 2 1 33\n\na.png\nwith space.png\n"other space.png" 1 0 5\nt t.png\t3\n  b.png 7 \r\n')
    monkeypatch.chdir(tmp_path)
    expected = ["z.png", "a.png", "with space.png", "other space.png", "t t.png", "b.png"]
    assert [str(path) for path in Source("list.txt").paths()] == expected
    assert Source("list.txt").count() == 6
    rooted = [str(path) for path in Source("list.txt", Path("root")).paths()]
    assert rooted == [f"root/{name}" for name in expected]


def test_a_line_that_no_file_can_be_called_by_is_still_a_path(tmp_path: Path) -> None:
    """A line longer than any name, or with a zero byte in it, ends nothing: what reads the image will say so."""
    listed = tmp_path / "list.txt"
    listed.write_text(f"{'x' * 5000} 1 2\nnull\0byte 3\nc.png\n")
    assert [str(path) for path in Source(str(listed)).paths()] == ["x" * 5000, "null\0byte", "c.png"]


def test_an_image_is_a_source_of_one(tree: Path) -> None:
    """An image's own path is a source, and no list."""
    assert names(Source(str(tree / "c.png")), tree) == ["c.png"]
    assert Source(str(tree / "c.png")).count() == 1


def test_links_are_followed_but_not_in_circles(tree: Path) -> None:
    """A link to a folder is walked like a folder; one to a folder above it is not."""
    (tree / "b" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "b" / "side").symlink_to(tree / "a" / "deep", target_is_directory=True)
    found = names(Source(str(tree)), tree)
    assert [name for name in found if name.startswith("b/")] == ["b/10.jpg", "b/2.jpg", "b/side/er/x.weird"]


def test_what_is_nothing_is_said_to_be(tmp_path: Path) -> None:
    """A missing file, a glob in a missing folder, and a file that is neither text nor image are named in one line."""
    with pytest.raises(SourceError, match="there is no list, folder or image"):
        Source(str(tmp_path / "none")).paths()
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        list(Source(str(tmp_path / "none" / "*.png")).paths())
    blob = tmp_path / "blob.bin"
    blob.write_bytes(b"\xff\xfe\x00binary\x9c")
    with pytest.raises(SourceError, match=r"blob\.bin is neither an image nor a list"):
        list(Source(str(blob)).paths())

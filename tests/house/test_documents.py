"""The documents say what the code does: tables, versions, links, commands."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from model.runtime.pack import DEFAULT_PACK, find_pack, read_pack
from service.settings import Settings
from tests.house import tree

DOCUMENTS: Final = tuple(name for name in tree.files() if name.suffix == ".md" and name.parts[0] != "tests")


def test_tables_in_the_documents_are_fresh() -> None:
    """Every table of settings, metrics, refusals and figures is the one that `make docs` would write now."""
    command = [sys.executable, "docs/fill.py", "--check"]
    done = subprocess.run(command, cwd=tree.PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("document", ["README.md", "docs/operating.md"])
def test_every_setting_is_documented(document: str) -> None:
    """Each setting of the service stands in the table, and the table has no other."""
    documented = re.findall(r"^\| `MIEN_(\w+)` \|", tree.text(Path(document)), re.MULTILINE)
    assert [name.lower() for name in documented] == list(Settings.model_fields)


def test_the_readme_states_the_packs_own_figures() -> None:
    """README's figures are pack.json's, as far as they are printed, and name the command that made them."""
    pack = read_pack(find_pack(DEFAULT_PACK))
    readme = tree.text(Path("README.md"))
    block = readme.split("<!-- figures")[1].split("<!-- end -->")[0]
    rows = re.findall(r"^\| (?!What|---)(.+?) \| ([\d.]+)( %)? \| (\S+) \| ([\d,]+) \|$", block, re.MULTILINE)
    headlines = {called: key for key, called in _fill().HEADLINES.items()}
    assert {called for called, *_ in rows} == set(headlines)
    for called, printed, percent, dataset, counted in rows:
        (figure,) = [
            each
            for each in pack.measured
            if (each.task, each.metric) == headlines[called] and (each.dataset, each.group) == (dataset, "all")
        ]
        step = 10.0 ** -len(printed.partition(".")[2])
        assert abs(float(printed) - figure.value * (100 if percent else 1)) <= step / 2 + 1e-9
        assert int(counted.replace(",", "")) == figure.num_samples
        assert f"    {figure.command}" in block


def test_the_readme_states_the_terms_of_the_packs_data() -> None:
    """Each set that the shipped pack was trained on and that is given for research alone is named so in the README."""
    readme, pack = tree.text(Path("README.md")), read_pack(find_pack(DEFAULT_PACK))
    (stated,) = [part for part in readme.split("\n\n") if "for non-commercial research only**" in part]
    named = [entry.terms.split(":")[0] for entry in pack.training_data if entry.name != "detection"]
    assert {"CelebA", "UTKFace"} <= set(named)
    assert all(name in stated for name in named)


def test_a_stale_table_is_refilled() -> None:
    """A table that somebody edited by hand is made anew, and text outside the tables is left alone."""
    edited = "before\n<!-- settings: filled by make docs -->\n| `MIEN_PORT` | 1 |\n<!-- end -->\nafter\n"
    filled = _fill().fill(edited)
    assert filled.startswith("before\n<!-- settings")
    assert filled.endswith("<!-- end -->\nafter\n")
    assert "| `MIEN_PORT` | `8000` | 0 to 65535 |" in filled


def test_the_version_is_the_changelogs_newest() -> None:
    """pyproject.toml's version is the one at the top of CHANGELOG.md."""
    version = tomllib.loads(tree.text(Path("pyproject.toml")))["project"]["version"]
    assert re.findall(r"^## (\S+)", tree.text(Path("CHANGELOG.md")), re.MULTILINE)[0] == version


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Each relative link of a document names a file or folder that is there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", tree.text(document))
    dead = [link for link in links if not (tree.PROJECT / document.parent / link).exists()]
    assert dead == []


def test_every_make_target_in_the_documents_exists() -> None:
    """Each `make TARGET` that a document tells the reader to type is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", tree.text(Path("Makefile")), re.MULTILINE))
    named = {
        target for name in DOCUMENTS for target in re.findall(r"(?:^|`)make ([a-z]+)", tree.text(name), re.MULTILINE)
    }
    assert named <= targets
    assert {"demo", "serve", "test", "check"} <= named


def _fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", tree.PROJECT / "docs" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""What the documents name as proof is there: a guarantee whose test was renamed or removed is a claim that nothing shows."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "DESIGN.md", *ROOT.glob("shop/*/DESIGN.md")])
NAMED_TEST = re.compile(r"\btest_[a-z0-9_]+\b(?!\.py)")
DEFINED_TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)
NAMED_FILE = re.compile(r"\btests/[a-z0-9_/]+\.py\b")


@cache
def all_tests() -> set[str]:
    """The names of all test functions."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for source in sources for name in DEFINED_TEST.findall(source)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert set(NAMED_TEST.findall(text)) - all_tests() == set()
    assert [name for name in NAMED_FILE.findall(text) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("document", ["README.md", "shop/store/DESIGN.md"])
def test_the_guarantees_name_the_tests_that_show_them(document: str) -> None:
    assert len(set(NAMED_TEST.findall((ROOT / document).read_text(encoding="utf-8")))) >= 5


def test_every_bug_that_the_torture_seeds_and_a_document_names_is_there() -> None:
    named = re.findall(
        r"the mutants ((?:\*[^*]+\*(?:, )?)+)", (ROOT / "shop/store/DESIGN.md").read_text(encoding="utf-8")
    )
    source = (ROOT / "tests/torture/mutants.py").read_text(encoding="utf-8")
    names = [name for group in named for name in re.findall(r"\*([^*]+)\*", group)]
    assert names
    assert [name for name in names if f'"{name}"' not in source] == []

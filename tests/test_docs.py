"""Links of README and docs point to files and headings that are there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: pathlib.Path) -> set[str]:
    """Returns the names that headings have as targets of links."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_what_is_there(page):
    for target in LINK.findall(page.read_text()):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name) if name else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name} links to {target}"


def test_the_paper_page_names_code_that_is_there():
    text = (ROOT / "docs/paper.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    checked = 0
    for line in lines:
        cell = line.split(" | ")[2]
        for part in cell.split(";"):
            names = re.findall(r"`(\w+)`", part)
            for file in re.findall(r"\]\(\.\./(crnn_jax/[\w/]+\.py)\)", part):
                code = (ROOT / file).read_text()
                for name in names:
                    assert re.search(rf"^(def|class) {name}\b", code, re.MULTILINE), (name, file)
                    checked += 1
    assert checked >= 12


def test_the_topmost_release_of_the_changelog_is_this_version():
    import crnn_jax

    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, _, date = next(h for h in headings if h != "Unreleased").partition(" - ")
    assert version == crnn_jax.__version__
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120

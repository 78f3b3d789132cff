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


NARROW = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WIDE = ("config.md",)  # a program writes it


def long_lines(text: str) -> list[str]:
    """Returns the lines of prose with more than 120 characters."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!-- table: .*?<!-- /table -->", "", text, flags=re.DOTALL)
    whole = ("|", "![")  # a row of a table or a picture cannot be broken
    return [line for line in text.splitlines() if len(line) > 120 and not line.startswith(whole)]


@pytest.mark.parametrize("page", [p for p in NARROW if p.name not in WIDE], ids=lambda p: p.name)
def test_lines_of_prose_are_short(page):
    assert long_lines(page.read_text()) == []


def test_a_long_line_of_prose_is_seen():
    row, long = "| " + "x " * 80 + "|", "x " * 80
    page = f"{row}\n```text\n{long}\n```\n<!-- table: a -->\n{long}\n<!-- /table -->\nshort\n"
    assert long_lines(page) == []
    assert long_lines(page + long) == [long]


def test_every_module_has_its_place_among_the_api_pages():
    pages = "".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md"))
    shown = re.findall(r"^\.\. automodule:: (\S+)$", pages, re.MULTILINE)
    assert len(shown) == len(set(shown))
    # Their names stand under other modules.
    elsewhere = {"crnn_jax", "crnn_jax.config", "crnn_jax.opened"}
    modules = set()
    for path in (ROOT / "crnn_jax").rglob("*.py"):
        if path.stem != "__main__" and path.read_text().strip():
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules.add(".".join(parts).removesuffix(".__init__"))
    assert modules - elsewhere == set(shown)

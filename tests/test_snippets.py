"""What README and docs show works: each command's flags are checked, most blocks are executed."""

import os
import pathlib

import pytest

from tests import snippets as lib
from tests.snippets import LANGUAGES, PAGES, check, run_page, snippets

# Seconds each. README runs with the slow tests, the other pages by `make test-pages`.
QUICK = ("first_run.md", "reading.md", "questions.md")


def marks(page):
    if page.name in QUICK:
        return []
    return pytest.mark.slow if page.name == "README.md" else pytest.mark.pages


def of(*languages):
    return [
        pytest.param(s, id=f"{s.page.name}:{s.line}")
        for page in PAGES
        for s in snippets(page)
        if s.language in languages
    ]


def executed(page):
    return [s for s in snippets(page) if s.language in ("bash", "python") and not s.needs]


@pytest.mark.parametrize("snippet", of("bash"))
def test_commands_have_programs_flags_and_configs(snippet, monkeypatch):
    for words in [] if snippet.fails else snippet.commands():
        check(words, monkeypatch)


@pytest.mark.parametrize("snippet", of("python"))
def test_python_compiles(snippet):
    compile(snippet.text, "snippet", "exec")


def test_every_block_says_its_language():
    wrong = [(s.page.name, s.line) for p in PAGES for s in snippets(p) if not known(s.language)]
    assert wrong == []


def known(language):
    return language in LANGUAGES or language.startswith("{")  # {toctree} and the like


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, id=p.name, marks=marks(p)) for p in PAGES if executed(p)],
)
def test_pages_run(page, tmp_path, monkeypatch, request):
    if "configs/cifar10" in "".join(s.text for s in executed(page)):
        request.getfixturevalue("tfds_dir")
    with lib.registries_kept():
        assert run_page(page, tmp_path, monkeypatch) == len(executed(page))


PAGE = """# A page

<!-- needs hours -->
```bash
python -m crnn_jax.main --config=configs/digits.py:crnn --workdir=a
```

```python
x = 1
```

```python
import pathlib
pathlib.Path("seen").write_text(str(x))
```
"""


def test_blocks_are_found_with_what_they_need(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    found = [(s.line, s.language, s.needs) for s in snippets(tmp_path / "page.md")]
    assert found == [(4, "bash", "hours"), (8, "python", ""), (12, "python", "")]


def test_blocks_run_in_order_in_one_namespace(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text(PAGE)
    monkeypatch.setattr(lib, "make_folder", lambda folder: None)
    assert run_page(tmp_path / "page.md", tmp_path, monkeypatch) == 2
    assert (tmp_path / "seen").read_text() == "1"
    (tmp_path / "page.md").write_text(PAGE.replace("str(x)", "str(y)"))
    with pytest.raises(NameError) as error:
        run_page(tmp_path / "page.md", tmp_path, monkeypatch)
    assert error.value.__notes__ == ["in the block at page.md:12"]


@pytest.mark.parametrize(
    "command",
    [
        "python -m crnn_jax.main --config=configs/digits.py:crnn --workdir=a --wrong=1",
        "python -m crnn_jax.main --config=configs/digits.py:crnn --workdir=a --config.sed=1",
        "python -m crnn_jax.main --config=configs/digits.py:cnnn --workdir=a",
        "python -m crnn_jax.studies.seeds --config=configs/digits.py:crnn --sedes=5",
        "python -m crnn_jax.unheard --config=configs/digits.py:crnn",
        "python benchmarks/input.py --wrote",
        "make tset",
        'pip install -e ".[tset]"',
        "source venv/bin/activate",
        "launch/local_gpu.sh",
        "rm -rf x",
    ],
)
def test_the_check_sees_what_is_wrong(command, monkeypatch):
    import shlex

    with pytest.raises((Exception, SystemExit)):
        check(shlex.split(command), monkeypatch)


def test_a_command_that_fails_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(pathlib.Path(lib.ROOT / "configs"), tmp_path / "configs")
    with pytest.raises(AssertionError, match="exit code 2"):
        lib.run(["python", "-m", "crnn_jax.evaluate", "--workdir=nowhere"], monkeypatch)

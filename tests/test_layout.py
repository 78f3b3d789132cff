"""The structure of the code: import levels, sizes and names."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = "crnn_jax"

# A module imports from levels below its own, or from its own package on the same level.
LEVELS = (
    ("streams",),
    ("errors", "ending"),
    ("disk", "new_file"),
    (
        "axes",
        "mesh",
        "distributed",
        "kernels",
        "compile_cache",
        "compiler",
        "file_lock",
        "huge_pages",
        "peak_memory",
        "orbax_logging",
        "presets",
        "processor",
        "pretrained",
        "provenance",
        "report",
        "weight_files",
    ),
    ("sharding", "entry"),
    (
        "events",
        "checksums",
        "collectives",
        "flops",
        "peaks",
        "timing",
        "data",
        "models",
        "optim",
    ),
    ("tasks", "trackers"),
    ("config",),  # its choices are the registries of what lies below
    ("validation", "help_config"),
    ("flags", "train", "checkpoint", "writers"),
    ("workdir", "starts", "train.experiment", "train.programs", "train.evaluator", "train.restore"),
    ("weights", "predictor"),
    ("train.loop", "train.results", "train.changes", "train.replay", "train.start", "run"),
    ("evaluation", "convert", "studies", "doctor", "export"),
    ("opened",),
    ("predict", "serve", "export.__main__"),
    ("export.package",),
    ("main", "evaluate", "api", "__main__"),
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
LINES_OF_FILE = 300
LINES_OF_FUNCTION = 60
LONGER_FUNCTIONS = {"crnn_jax/train/loop.py": 120}
# Modules that know what is learned; the names of targets stand in no other.
KNOW_TARGETS = ("tasks/", "data/splits.py", "data/digit", "data/folder.py", "data/tf")
KNOW_TARGETS += ("data/prepare", "data/imagenet_", "report/", "studies/scaling_figures.py")
KNOW_TARGETS += ("data/moving_digits.py", "data/video_folder.py", "data/classes.py")
KNOW_TARGETS += ("data/csv_file.py", "serve/metrics.py")  # the last has Prometheus's labels
TARGET = re.compile(r"(other_)?labels?(_[A-Z]+)?")
JUNK_DRAWERS = {"util", "utils", "helper", "helpers", "misc", "common"}


def source_files(*folders: str) -> list[str]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path.relative_to(ROOT).as_posix() for path in paths]


EVERY_FILE = source_files(PACKAGE, "configs", "tests", "benchmarks")


def parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def group_of(module: str) -> str | None:
    """Returns the entry of LEVELS that a module such as "data.order" belongs to."""
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((name for name in names if name in LEVEL_OF), None)


def imports(tree: ast.Module) -> Iterator[str]:
    """Yields "data.order" for each import of crnn_jax.data.order, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from crnn_jax.data import order` names a module, or something in one.
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{PACKAGE}.(relative)"]
        else:
            continue
        prefix = f"{PACKAGE}."
        yield from (name.removeprefix(prefix) for name in found if name.startswith(prefix))


def forbidden_imports(module: str, tree: ast.Module) -> list[str]:
    group = group_of(module)
    assert group is not None, f"{module} has no level: add it to LEVELS"
    package, level = module.split(".")[0], LEVEL_OF[group]
    wrong = []
    for name in imports(tree):
        other = group_of(name)
        if other is None:
            wrong.append(name)
            continue
        same_package = name.split(".")[0] == package and LEVEL_OF[other] == level
        if LEVEL_OF[other] >= level and not same_package:
            wrong.append(name)
    return wrong


def long_functions(tree: ast.Module, limit: int) -> list[str]:
    return [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= limit
    ]


def config_gets(tree: ast.Module) -> list[str]:
    """Returns calls such as config.optim.get("name", ...): a default hidden in the code."""
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("get", "get_ref", "get_oneway_ref")
        and re.search(r"config\b", ast.unparse(node.func.value))
    ]


def module_of(file: str) -> str:
    return (
        file.removeprefix(f"{PACKAGE}/")
        .removesuffix(".py")
        .removesuffix("/__init__")
        .replace("/", ".")
    )


def import_graph() -> dict[str, set[str]]:
    """Returns module -> the modules of the package that it imports, inside functions too."""
    files = source_files(PACKAGE)
    modules = {module_of(file) for file in files}
    graph = {}
    for file in files:
        names = set(imports(parse(file)))
        # `from crnn_jax.data import order` names a module, or something in one.
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module_of(file)] = (found & modules) - {module_of(file)}
    return graph


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Returns the modules that import themselves through others."""

    def reached(start: str) -> set[str]:
        seen, left = set(), list(graph[start])
        while left:
            if (name := left.pop()) not in seen:
                seen.add(name)
                left += graph[name]
        return seen

    return sorted(name for name in graph if name in reached(name))


def targets(tree: ast.Module) -> list[str]:
    """Returns the names and strings that name a target, such as "label" and label_B."""
    found = []
    for node in ast.walk(tree):
        texts: list[object] = []
        if isinstance(node, ast.Name):
            texts = [node.id]
        elif isinstance(node, ast.Attribute):
            texts = [node.attr]
        elif isinstance(node, ast.Constant):
            texts = [node.value]
        elif isinstance(node, ast.arg):
            texts = [node.arg]
        found += [text for text in texts if isinstance(text, str) and TARGET.fullmatch(text)]
    return found


def is_ranked(file: str) -> bool:
    return not file.endswith("__init__.py") and not file.startswith(f"{PACKAGE}/report/")


@pytest.mark.parametrize("file", [f for f in source_files(PACKAGE) if is_ranked(f)])
def test_imports_go_down(file):
    module = file.removeprefix(f"{PACKAGE}/").removesuffix(".py").replace("/", ".")
    assert forbidden_imports(module, parse(file)) == []


def test_no_module_imports_itself_through_others():
    assert circles(import_graph()) == []


@pytest.mark.parametrize("file", source_files(PACKAGE))
def test_targets_are_named_by_tasks_and_sources_alone(file):
    if not file.removeprefix(f"{PACKAGE}/").startswith(KNOW_TARGETS):
        assert targets(parse(file)) == []


@pytest.mark.parametrize("file", source_files(f"{PACKAGE}/report"))
def test_report_reads_files_and_knows_nothing_of_the_rest(file):
    tree = parse(file)
    allowed = ("report.", "errors.")
    assert [name for name in imports(tree) if not name.startswith(allowed)] == []
    names = {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} & {"jax", "jaxlib", "flax", "optax"} == set()


@pytest.mark.parametrize("file", EVERY_FILE)
def test_files_and_functions_are_short(file):
    lines = len((ROOT / file).read_text().splitlines())
    assert lines <= LINES_OF_FILE, f"{file} has {lines} lines"
    limit = LONGER_FUNCTIONS.get(file, LINES_OF_FUNCTION)
    assert long_functions(parse(file), limit) == []


def test_modules_are_named_after_what_they_hold():
    names = {file: set(file.removesuffix(".py").split("/")) for file in EVERY_FILE}
    assert [file for file, parts in names.items() if parts & JUNK_DRAWERS] == []


@pytest.mark.parametrize("file", source_files(PACKAGE, "configs"))
def test_config_keys_are_read_as_attributes(file):
    assert config_gets(parse(file)) == []


def test_only_continuous_integration_names_the_shared_folder():
    name = "../" + "shared"
    texts = [ROOT / file for file in EVERY_FILE]
    texts += [
        path
        for pattern in ("*.md", "docs/*.md", "*.toml", "Makefile")
        for path in ROOT.glob(pattern)
    ]
    assert [str(path) for path in texts if name in path.read_text()] == []


@pytest.mark.parametrize(
    ("module", "text", "wrong"),
    [
        ("data.order", "from crnn_jax.models import cnn", ["models.cnn"]),
        ("data.order", "def f():\n    import crnn_jax.train.loop", ["train.loop"]),
        (
            "data.order",
            "from crnn_jax.data import cache\nfrom crnn_jax.errors import UserError",
            [],
        ),
        ("tasks.losses", "from crnn_jax.train import step", ["train.step"]),
        ("train.step", "from crnn_jax.train.state import TrainState", []),
        ("train.state", "from crnn_jax.train.loop import train", ["train.loop.train"]),
        ("train.loop", "from crnn_jax.checkpoint import Checkpoints", []),
        ("errors", "from . import config", ["(relative)"]),
        ("main", "from crnn_jax.unheard import x", ["unheard.x"]),
    ],
)
def test_the_check_of_imports_sees_what_is_wrong(module, text, wrong):
    assert forbidden_imports(module, ast.parse(text)) == wrong


def test_the_other_checks_see_what_is_wrong():
    assert config_gets(ast.parse("a = config.optim.get('x', 1)")) == ["config.optim.get('x', 1)"]
    assert config_gets(ast.parse("a = data_config.get('x')")) == ["data_config.get('x')"]
    assert config_gets(ast.parse("a = flat.get('x')")) == []
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}
    assert circles(graph) == ["b", "c"]
    assert targets(ast.parse("x = batch['label'] + label_B + f(label=1) + label_smoothing")) == [
        "label_B",
        "label",
    ]
    body = "def f():\n" + "    pass\n" * 60
    assert long_functions(ast.parse(body), 60) == ["f (61 lines)"]
    assert long_functions(ast.parse(body), 61) == []


def test_the_guide_to_changes_names_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:crnn_jax|tests|benchmarks)/[\w/.]*)`", text))
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert len(named) > 15

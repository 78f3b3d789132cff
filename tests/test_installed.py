"""The package installed from a wheel, outside the repository, with nothing else there.

make test-installed runs these: each environment takes minutes and a package index.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from crnn_jax import presets, pretrained

pytestmark = pytest.mark.installed
ROOT = pathlib.Path(__file__).parent.parent
OWN_CONFIG = """
import sizes
from crnn_jax import config as c

def get_config(argument="rnn"):
    config = c.default_config(argument)
    config.duration, config.batch_size = sizes.DURATION, 64
    return config
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a source archive of this tree: both hold all that they should."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("results/", "tests/", "docs/")):
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "tree" / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "build"], check=True)
    python = folder / "build" / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "install", "setuptools>=69"], check=True)
    code = "import setuptools.build_meta as b; print(b.build_sdist('..'))"
    subprocess.run([python, "-c", code], cwd=folder / "tree", check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tar.gz")
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, archive], check=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_has_the_presets_the_models_and_the_page(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"crnn_jax/configs/{name}.py" for name in presets.names()} <= names
    assert {f"crnn_jax/pretrained/{name}.safetensors" for name in pretrained.names()} <= names
    assert {"crnn_jax/serve/page.html", "crnn_jax/py.typed"} <= names
    assert not [name for name in names if name.startswith(("configs/", "tests/", "benchmarks/"))]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_an_empty_environment_has_all_that_is_needed(version, wheel, tmp_path):
    found = subprocess.run(
        ["sh", ROOT / ".ci" / "find_python", version], capture_output=True, text=True
    )
    if found.returncode:
        pytest.skip(f"no Python {version} here")
    subprocess.run([found.stdout.strip(), "-m", "venv", tmp_path / "venv"], check=True)
    bin_folder = tmp_path / "venv" / "bin"
    lowest = "constraints-lowest.txt" if version == "3.11" else "constraints.txt"
    subprocess.run(
        [bin_folder / "python", "-m", "pip", "--quiet", "install", wheel, "-c", ROOT / lowest],
        check=True,
    )
    home = tmp_path / "home"
    folder = home / "a:b"
    folder.mkdir(parents=True)
    (folder / "my.py").write_text(OWN_CONFIG)
    (folder / "sizes.py").write_text("DURATION = '2 steps'\n")
    env = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONPATH")}
    env |= {"HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*arguments):
        command = [bin_folder / "crnn-jax", *arguments]
        done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "train the model" in run("--help")
    assert "optim.learning_rate: 0.1;" in run("train", "--config=cifar10:crnn", "--help_config")
    assert "test accuracy" in run("train", "--config=~/a:b/my.py:rnn", "--workdir=runs/own")
    assert "test accuracy" in run("evaluate", "--workdir=runs/own")
    code = "from PIL import Image; Image.new('L', (30, 30)).save('photo.png')"
    subprocess.run([bin_folder / "python", "-c", code], cwd=home, check=True)
    assert run("predict", "--model=digits_crnn", "photo.png").startswith("photo.png\t")
    assert "fit to train" in run("doctor")

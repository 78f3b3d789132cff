"""The table of keys, on the screen and in docs/config.md."""

import pathlib
import subprocess
import sys

import pytest

from crnn_jax import config as cfg
from crnn_jax import help_config, main


def test_every_key_of_a_config_is_printed_with_its_value(capsys):
    main.main(["--help_config", "--config=configs/digits.py:lrcn", "--config.seed=77"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    for name, key in cfg.keys_of("lrcn").items():
        assert name == "model.name" or f"  {name}: " in text
        assert name == "model.name" or " ".join(key.meaning.split()) in " ".join(text.split())
    assert "seed: 77; default 0" in text
    assert "model.cell: lstm; default lstm; elman | gru" in text
    assert "model.sequence" not in text


def test_without_a_config_the_keys_of_all_models_are_printed(capsys):
    main.main(["--help_config"])
    text = capsys.readouterr().out
    for model in cfg.MODEL_DEFAULTS:
        for name in cfg.keys_of(model):
            assert name == "model.name" or f"  {name}: " in text
    assert "lstm (lrcn, sequencer)" in " ".join(text.split())


def test_the_page_is_up_to_date(tmp_path, capsys):
    help_config.main(["--check", "docs/config.md"])
    page = tmp_path / "config.md"
    page.write_text("old")
    with pytest.raises(SystemExit):
        help_config.main(["--check", str(page)])
    assert "is out of date: run" in capsys.readouterr().err
    assert page.read_text() == "old"
    help_config.main([str(page)])
    assert page.read_text() == pathlib.Path("docs/config.md").read_text()


def test_a_default_config_and_its_mistakes_need_no_jax():
    code = (
        "import sys\n"
        "from crnn_jax.errors import UserError\n"
        "from crnn_jax.flags import resolve_config\n"
        "for pair in (('optim.learning_rat', '1'), ('optim.b1', '2')):\n"
        "    try:\n"
        "        resolve_config('configs/digits.py:crnn', dict([pair]))\n"
        "    except UserError:\n"
        "        continue\n"
        "    sys.exit(3)\n"
        "sys.exit('jax' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

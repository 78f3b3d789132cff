"""The command sees what is good, what is damaged, and deletes what nobody needs."""

import re

import pytest

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.checkpoint.__main__ import main
from crnn_jax.file_lock import only_run
from tests.test_checkpoint import make_state


def test_list_verify_and_prune(tmp_path, capsys):
    directory = tmp_path / "checkpoints"
    with Checkpoints(directory, keep_latest=9, keep_best=True) as checkpoints:
        for step, accuracy in ((1, 0.5), (2, 0.75), (3, 0.25), (4, 0.5)):
            checkpoints.save(step, make_state(step), {"validation/accuracy": accuracy})
    (directory / "damaged-9-1").mkdir()
    (directory / "8.deleted").mkdir()
    main([f"--workdir={tmp_path}", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"step 2  0\.\d MB  validation accuracy 0.7500  best", lines[1])
    assert len(lines) == 4
    with pytest.raises(SystemExit) as good:
        main([f"--workdir={tmp_path}", "verify"])
    assert good.value.code == 0
    (directory / "3").rename(directory / "5")
    capsys.readouterr()
    with pytest.raises(SystemExit) as bad:
        main([f"--workdir={tmp_path}", "verify"])
    assert bad.value.code == 1
    assert "it holds step 3 under the name 5" in capsys.readouterr().out.splitlines()[-1]
    with only_run(tmp_path), pytest.raises(SystemExit) as busy:
        main([f"--workdir={tmp_path}", "prune"])
    assert busy.value.code == 2
    main([f"--workdir={tmp_path}", "prune"])
    assert sorted(path.name for path in directory.iterdir()) == ["2", "4", "5"]

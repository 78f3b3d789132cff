"""The scaling study end to end: virtual devices, two processes, a projection, files and figures."""

import json

import pytest

from crnn_jax.studies import scaling

TINY = [
    "--config=configs/digits.py:crnn,model.width=4,model.hidden_units=8,batch_size=16",
    "--repeats=2",
    "--steps=1",
]


def test_strong_scaling_on_two_processes_with_a_projection(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    arguments = ["--mode=strong", "--devices=1,4", "--processes=2", "--project=8,16,64"]
    scaling.main([*TINY, *arguments, f"--results={tmp_path}", "--project_batch=32", "--name=tiny"])
    out = capsys.readouterr().out
    assert "virtual devices share this machine's cores: no statement about speed" in out
    assert "assumptions:" in out
    content = json.loads((tmp_path / "tiny_strong.json").read_text())
    one, four = content["points"]
    assert (one["devices"], one["processes"], one["batch_size"]) == (1, 1, 16)
    assert (four["devices"], four["processes"], four["batch_size"]) == (4, 2, 16)
    assert four["collective_calls"] > 0 == one["collective_calls"]
    assert four["collective_seconds"] > 0
    assert four["collective_bytes"] >= 4 * four["parameters"]
    assert four["speedup"] == pytest.approx(one["seconds"] / four["seconds"])
    assert four["efficiency"] == pytest.approx(four["speedup"] / 4)
    assert len(four["step_seconds"]) == 2
    assert one["mfu"] is None
    assert one["memory_bytes"] > 4 * one["parameters"]
    assert [p["batch_size"] for p in content["one_device"]] == [16, 4]
    assert [p["chips"] for p in content["projection"]["chips"]["v5e"]["points"]] == [8, 16]
    for picture in ("tiny_strong.png", "tiny_strong_projection.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_weak_scaling_keeps_the_images_of_a_device(monkeypatch):
    asked = []

    def point(settings, processes):
        asked.append((settings["devices"], settings["overrides"]["batch_size"], processes))
        return {"devices": settings["devices"], "batch_size": 0}

    monkeypatch.setattr(scaling, "run_point", point)
    flags = dict(config=TINY[0][9:], repeats=1, steps=1, mode="weak", devices="1,2,8", processes=2)
    scaling._measure(type("Flags", (), flags), {})
    assert asked == [(1, "16", 1), (2, "32", 2), (8, "128", 2)]


def test_mistakes_are_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        scaling.main([*TINY, "--mode=strong", "--devices=two"])
    assert stop.value.code == 2
    assert "--devices expects numbers such as 1,2,4,8, found 'two'" in capsys.readouterr().err

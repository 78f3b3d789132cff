"""Predicted hours and dollars of ImageNet's recipes."""

import json

import pytest

from crnn_jax.studies import cost

POINT = {
    "flops_per_image": 1e9,
    "batch_size": 8,
    "step_seconds": [0.24],  # 3 x 8 GFLOP at 100 GFLOP/s
    "matmul_flops": 200e9,
    "bytes_accessed": 8.0,  # nothing: bound by computing
    "collective_bytes": 0,
    "collective_calls": 0,
}
MEASURED = {"points": [POINT], "one_device": [POINT]}


def test_hours_are_images_over_the_projected_rate():
    rows = cost.predict(MEASURED, "crnn", {**cost.PRICES, "v4": 2.0})
    (row,) = (row for row in rows if row["hardware"] == "tpu_v4_32")
    # Half of 275 TFLOP/s on 16 chips, 3 GFLOP an image; 90 epochs.
    assert row["images_per_second"] == pytest.approx(16 * 275e12 / 2 / 3e9)
    assert row["hours"] == pytest.approx(90 * 1_281_167 / row["images_per_second"] / 3600)
    assert row["dollars"] == pytest.approx(row["hours"] * 16 * 2)
    assert (row["mfu"], row["bound"]) == (pytest.approx(0.5), "compute")


def test_the_file_and_its_table(tmp_path):
    (tmp_path / "scaling").mkdir()
    (tmp_path / "scaling/imagenet_crnn_strong.json").write_text(json.dumps(MEASURED))
    cost.main([f"--results={tmp_path}", "--price=H100=2.5"])
    content = json.loads((tmp_path / "cost_imagenet.json").read_text())
    assert [row["price_per_chip_hour"] for row in content["rows"]] == [2.5, 3.2, 1.2]
    table = (tmp_path / "cost_imagenet.md").read_text()
    assert "| crnn | `8gpu` | 8 x H100 | 1,024 | 90 |" in table


@pytest.mark.parametrize("flag", ["--price=H9=2", "--price=H100=free", "--models=cnn"])
def test_mistakes_end_with_one_line(flag, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cost.main([flag, f"--results={tmp_path}"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1

"""The sentences on the paper's claims, from numbers made up to hold or to break them."""

import pytest

from crnn_jax.studies import claims


def results(*accuracies):
    return [{"seed": seed, "test": {"accuracy": value}} for seed, value in enumerate(accuracies)]


def as_the_paper(**changes):
    return {row: results(value) for row, value in {**claims.PAPER["cifar10"], **changes}.items()}


def test_the_papers_own_numbers_hold():
    text = claims.ordering(as_the_paper())
    assert "(RNN < CNN < LRCN < TSN < CRNN) holds" in text
    assert "Against" not in text
    assert "(n=1) has no interval" in text


def test_a_row_out_of_order_is_named_with_its_difference():
    text = claims.ordering(as_the_paper(cnn=0.93))
    assert "does not hold: ours is RNN 76.80 < LRCN 89.20 < TSN 90.10 < CRNN 91.50 < CNN 93.00" in (
        text
    )
    assert "CNN over LRCN by 3.80 points" in text
    assert "CNN over CRNN by 1.50 points" in text
    assert "TSN over" not in text


def test_an_interval_with_both_signs_is_said():
    found = {"cnn": results(0.80, 0.82, 0.81), "crnn": results(0.81, 0.80, 0.83)}
    text = claims.ordering(found)
    assert "as far as its rows are here, (CNN < CRNN) holds" in text
    assert "Not told apart, the 95% interval has both signs: CNN and CRNN." in text
    assert "n=1" not in text
    clear = {"cnn": results(0.80, 0.82, 0.81), "crnn": results(0.90, 0.92, 0.91)}
    assert "Not told apart" not in claims.ordering(clear)
    assert "cannot be judged" in claims.ordering({"rnn_deep": results(0.8), "cnn": results(0.8)})


def row(name, flops, rate, hardware=("a",)):
    return {
        "row": name,
        "flops_per_image": flops,
        "images_per_second": [rate, rate, 9.0 * rate],
        "hardware": list(hardware),
    }


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([row("lrcn", 4, 50.0)], "holds: against LRCN (0.50 times its FLOPs, 2.00 times its"),
        ([row("cnn", 1, 50.0)], "does not hold: not against CNN (2.00 times its FLOPs"),
        ([row("cnn", 4, 200.0)], "does not hold: not against CNN (0.50 times its FLOPs, 0.50"),
        ([row("cnn", 1, 200.0), row("tsn", 4, 50.0)], "holds in part: against TSN"),
        ([row("tsn", 4, 500.0, ["b"])], "different hardware"),
        ([], "cannot be judged"),
    ],
)
def test_efficiency(others, expected):
    text = claims.efficiency([row("crnn", 2, 100.0), *others])
    assert expected in text
    if "different hardware" in expected:
        assert "holds: against TSN (0.50 times its FLOPs)" in text


def test_stability_is_the_spread_of_the_grid():
    def grid(*accuracies):
        places = [(3, 64), (3, 128), (6, 64), (6, 128)]
        return [
            {"num_conv_layers": layers, "hidden_units": units, "accuracy_mean": accuracy}
            for (layers, units), accuracy in zip(places, accuracies, strict=True)
        ]

    assert "two settings, holds: from" in claims.stability(grid(0.80, 0.805, 0.815, 0.819))
    text = claims.stability(grid(0.80, 0.81, 0.85, 0.86))
    assert "does not hold: from 80.00% (3 layers, 64 units) to 86.00% (6 layers, 128 units)" in text
    assert "6.00 points; 5.00 points between the means of layers, 1.00 points between" in text

"""The projection's arithmetic, against numbers worked out by hand."""

import dataclasses

import pytest

from crnn_jax.studies.hardware import CHIPS, HOP_SECONDS, START_SECONDS, Chip
from crnn_jax.studies.projection import TERMS, Program, batch_for_efficiency, project, study

PROGRAM = Program(
    flops_per_image=1e9,
    gradient_bytes=1e8,
    calls=10,
    utilization={1: 0.1, 100: 0.5},
    bytes_accessed={1: 1e6, 100: 1e8},
)
CHIP = Chip(
    peak=1e12, memory=1e9, memory_bandwidth=1e12, inside=1e11, domain=8, torus=0, outside=1e10,
    source="",
)  # fmt: skip


def test_one_chip_computes_alone():
    point = project(PROGRAM, CHIP, 1, 100)
    assert point["step_seconds"] == pytest.approx(3 * 1e9 * 100 / (1e12 * 0.5))
    assert point["terms"]["memory"] == pytest.approx(1e-4)
    assert point["bound"] == "compute"
    assert point["efficiency"] == 1
    assert point["mfu"] == pytest.approx(0.5)
    slow = dataclasses.replace(CHIP, memory_bandwidth=1e6)
    assert project(PROGRAM, slow, 1, 100)["bound"] == "memory"


def test_utilization_falls_with_the_images_of_a_chip():
    ten = project(PROGRAM, CHIP, 10, 100)["terms"]["compute"]
    assert ten == pytest.approx(3 * 1e9 * 10 / (1e12 * 0.3))  # halfway in the logarithm
    below, above = (project(PROGRAM, CHIP, 1, b)["mfu"] for b in (1, 10_000))
    assert (below, above) == (pytest.approx(0.1), pytest.approx(0.5))


def test_communication_inside_a_domain_and_between():
    inside = project(PROGRAM, CHIP, 8, 800)["terms"]
    assert inside["bandwidth"] == pytest.approx(2 * 7 / 8 * 1e8 / 1e11)
    assert inside["latency"] == pytest.approx(10 * (START_SECONDS + HOP_SECONDS["inside"]))
    between = project(PROGRAM, CHIP, 32, 3200)["terms"]
    extra = 2 * 3 / 4 * (1e8 / 8) / 1e10
    assert between["bandwidth"] == pytest.approx(inside["bandwidth"] + extra)
    assert between["latency"] == pytest.approx(inside["latency"] + 10 * 4 * HOP_SECONDS["outside"])
    torus = dataclasses.replace(CHIP, domain=64, torus=2)
    hops = 2 * 8 / 2 * HOP_SECONDS["inside"]
    found = project(PROGRAM, torus, 64, 6400)["terms"]["latency"]
    assert found == pytest.approx(10 * (START_SECONDS + hops))


def test_the_batch_that_keeps_chips_busy_is_the_smallest():
    batch = batch_for_efficiency(PROGRAM, CHIP, 32, 0.8)
    assert project(PROGRAM, CHIP, 32, batch)["efficiency"] >= 0.8
    assert project(PROGRAM, CHIP, 32, batch // 2)["efficiency"] < 0.8


def test_the_study_says_where_scaling_stops_and_why():
    found = study(PROGRAM, [8, 64, 1024], 256)
    assert set(found) == set(CHIPS) == {"v4", "v5e", "v5p", "v6e", "H100", "H200"}
    for chip in found.values():
        assert [point["chips"] for point in chip["points"]] == [8, 64]  # no chip without an image
        assert 1 <= chip["pays_up_to"] <= 256
        assert chip["stopped_by"] in (*TERMS, "one image a chip")
        assert chip["source"]
    many = dataclasses.replace(PROGRAM, gradient_bytes=1e12)
    assert study(many, [8], 256)["H100"]["stopped_by"] == "bandwidth"

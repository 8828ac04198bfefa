"""The tables of docs/scaling.md are what benchmarks/scaling.py computes, and its formulas hold."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
import scaling  # noqa: E402


def test_the_page_holds_what_the_script_prints():
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    tables = "\n".join(scaling.tables()).split("\n\n")
    assert len(tables) == 5
    assert [table for table in tables if table not in page] == []


def test_counted_work_is_that_of_the_layers():
    """ResNet-12's convolutions by hand: two operations for each weight at each place."""
    network = scaling.Network("resnet12", 32, 2, 20)
    places, convolutions, inner = 32 * 32, 0, 3
    for channels in (64, 160, 320, 640):
        weights = 9 * inner * channels + 2 * 9 * channels**2 + inner * channels
        convolutions += 2 * places * weights
        places, inner = places // 4, channels
    head = 2 * (640 * 640 + 640 * 128 + 128 * 20)
    counted = scaling.gflops(scaling.work(network).key, network)
    assert counted == pytest.approx((convolutions + head) / 1e9, rel=1e-6)


def test_a_card_of_twice_the_rates_takes_half_the_time():
    card = scaling.CARDS[0]
    fast = replace(card, flops=2 * card.flops, memory=2 * card.memory)
    slow = scaling.passes(scaling.NETWORKS[1], card)
    assert scaling.passes(scaling.NETWORKS[1], fast) == pytest.approx(slow / 2)
    assert scaling.passes(scaling.LARGE, scaling.H200) / scaling.share() == pytest.approx(0.0475)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what processes write: Linux")
def test_processes_send_what_the_formula_says():
    formula, counted = scaling.sent_here(3, steps=4)
    assert counted == pytest.approx(formula, rel=0.05)
    parameters = 1000
    sent = scaling.sent(scaling.LARGE, 1, parameters)
    assert set(sent.values()) == {0}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"passes": 2.0, "exchange": 0.1, "loading": 1.0}, (2.1, "passes")),
        ({"passes": 2.0, "exchange": 1.0, "loading": 1.0}, (3.0, "passes + exchange")),
        ({"passes": 2.0, "exchange": 0.1, "loading": 4.0}, (4.0, "loading")),
    ],
)
def test_a_step_is_the_longer_one_of_work_and_loading(parts, expected):
    assert scaling.step(parts) == (pytest.approx(expected[0]), expected[1])


@pytest.mark.parametrize("asked", [(2, 0.01, 0.005), (2, 0.001, 0.05)])
def test_a_loader_keeps_the_pace_that_the_formula_says(asked):
    formula, counted = scaling.rates_here(*asked, steps=15)
    assert 0.6 * formula < counted < 1.1 * formula

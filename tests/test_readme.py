"""The README is true: its code runs, its tables are those of the nets, its files are there."""

import re
from pathlib import Path

import numpy as np
import pytest
from undrawn import undrawn

import keras_preresnet

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_its_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["model"](np.zeros((2, 32, 32, 3), "float32")).shape == (2, 10)


ROWS = re.findall(r"^\| (\d+) \| ([\d, ]+) \w+ \| ([\d,]+) \| ([\d,]+) \|$", TEXT, re.MULTILINE)
QUICK = ("20", "164", "18", "50")


def test_its_table_has_every_depth():
    assert {f"PreResNet{row[0]}" for row in ROWS} == set(keras_preresnet.list_models("PreResNet*"))


@pytest.mark.parametrize("prefix", ["PreResNet", "ResNet"])
@pytest.mark.parametrize(
    "row", [pytest.param(r, marks=() if r[0] in QUICK else pytest.mark.slow, id=r[0]) for r in ROWS]
)
def test_its_counts_are_those_of_the_nets(row, prefix):
    depth, units, pre, original = row
    with undrawn():
        net = keras_preresnet.create_model(f"{prefix}{depth}")
    count = sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)
    assert count == int((pre if prefix == "PreResNet" else original).replace(",", ""))
    stacked = [layer.count + 1 for layer in net.layers if isinstance(layer, keras_preresnet.UnitStack)]
    assert stacked == [int(number) for number in units.split(",")]


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []

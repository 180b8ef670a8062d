"""The tables of the paper are those of the paper, and its rows the runs that they should be."""

import dataclasses
import re

import pytest

from keras_preresnet.activations import DESIGNS
from keras_preresnet.zoo import list_models
from training.errors import UserError
from training.job import Job
from training.recipes import RECIPES
from training.reproduction import choose_rows, choose_table
from training.scales import Scale
from training.tables import TABLES, Number, Row

# The paper's numbers again, in the paper's order and form.
SHORTCUTS = "6.61 fail fail 12.35 fail fail fail fail fail fail 8.70 9.81 12.86 6.91 12.22 fail"
DESIGNS_110 = "6.61 8.17 7.84 6.71 6.37"
DESIGNS_164 = "5.93 6.50 6.14 5.91 5.46"
DEPTHS = """
    CIFAR-10  110 one layer  9.90 8.91
    CIFAR-10  110            6.61 6.37
    CIFAR-10  164            5.93 5.46
    CIFAR-10  1001           7.61 4.92
    CIFAR-100 164           25.16 24.33
    CIFAR-100 1001          27.82 22.71
"""
OTHERS = """
    NIN      8.81 35.68
    DSN      8.22 34.57
    FitNet   8.39 35.04
    Highway  7.72 32.39
    All-CNN  7.25 33.71
    ELU      6.55 24.28
    LSUV     5.84 27.66
"""
OURS = """
    ResNet110 cifar10 6.61
    ResNet1202 cifar10 7.93
    PreResNet164 cifar10 5.46
    PreResNet1001 cifar10 4.92 (4.89 ± 0.14)
    PreResNet1001 cifar10 4.62 (4.69 ± 0.20)
    ResNet164 cifar100 25.16
    ResNet1001 cifar100 27.82
    PreResNet164 cifar100 24.33
    PreResNet1001 cifar100 22.71 (22.68 ± 0.22)
"""
IMAGENET = """
    152 original   224 23.0  6.7
    152 original   320 21.3  5.5
    152 pre-act    320 21.1  5.5
    200 original   320 21.8  6.0
    200 pre-act    320 20.7  5.3
    200 inception  224 21.66 5.79
    200 inception  320 20.1  4.8
    - v3           299 21.2  5.6
    101 original   224 23.6  7.1
    101 bn         224 24.6  7.5
"""


def _words(error):
    return error if error == "fail" else f"{error:.2f}"


def _errors(rows):
    return " ".join(_words(number.error) for row in rows for number in row.paper)


def _lines(text):
    return [line.split() for line in text.strip().splitlines()]


def test_there_are_five_tables_with_as_many_rows_as_the_paper():
    """Table 1 has one row for six gate biases that fail, Table 3 two numbers in a row, Table 5 one row a test size."""
    assert {number: len(table.rows) for number, table in TABLES.items()} == {1: 16, 2: 10, 3: 12, 4: 23, 5: 8}
    own = {number: sum(row.model is not None for row in table.rows) for number, table in TABLES.items()}
    assert own == {1: 16, 2: 10, 3: 12, 4: 9, 5: 7}
    assert {number: (table.number, table.runs) for number, table in TABLES.items()} == {
        1: (1, 5),
        2: (2, 5),
        3: (3, 5),
        4: (4, 5),
        5: (5, 1),
    }
    assert [table.fails_above for table in TABLES.values()] == [20, None, None, None, None]


def test_table_1():
    assert _errors(TABLES[1].rows) == SHORTCUTS
    assert {row.model for row in TABLES[1].rows} == {"ResNet110"}
    options = {row.name: row.options for row in TABLES[1].rows}
    assert options["identity"] == {}
    assert options["scaling_0.5"] == {
        "shortcut": "constant_scaling",
        "shortcut_options": {"scale": 0.5, "residual_scale": 1},
    }
    assert options["scaling_0.5_residual_0.5"]["shortcut_options"] == {"scale": 0.5, "residual_scale": 0.5}
    assert options["convolution"] == {"shortcut": "convolution"}
    assert options["dropout"] == {"shortcut": "dropout", "shortcut_options": {"rate": 0.5}}
    for shortcut, biases in (("exclusive_gating", range(0, -8, -1)), ("shortcut_only_gating", (0, -6))):
        for bias in biases:
            expected = {"shortcut": shortcut, "shortcut_options": {"gate_bias": bias}}
            assert options.pop(f"{shortcut}_{bias}") == expected
    assert len(options) == 6


def test_table_2():
    assert _errors(TABLES[2].rows) == f"{DESIGNS_110} {DESIGNS_164}"
    for depth in (110, 164):
        rows = {design: TABLES[2][f"{design}_{depth}"] for design in DESIGNS}
        assert rows["original"].model == f"ResNet{depth}"
        assert rows["full_preactivation"].model == f"PreResNet{depth}"
        assert rows["original"].options == rows["full_preactivation"].options == {}
        for design in ("bn_after_addition", "relu_before_addition", "relu_only_preactivation"):
            assert (rows[design].model, rows[design].options) == (f"ResNet{depth}", {"design": design})


def test_table_3():
    found = {(row.data, row.model, row.options.get("branch")): row.paper[0].error for row in TABLES[3].rows}
    for data, depth, *words in _lines(DEPTHS):
        branch = "one_layer" if "layer" in words else None
        for prefix, error in zip(("ResNet", "PreResNet"), words[-2:], strict=True):
            assert found.pop((data.lower().replace("-", ""), f"{prefix}{depth}", branch)) == float(error)
    assert not found


def test_table_4():
    for name, *errors in _lines(OTHERS):
        for data, error in zip(("cifar10", "cifar100"), errors, strict=True):
            row = TABLES[4][f"{name}_{data}"]
            assert (row.model, row.data, row.paper) == (None, data, (Number(float(error)),))
    own = [row for row in TABLES[4].rows if row.model]
    for row, (model, data, error, *brackets) in zip(own, _lines(OURS), strict=True):
        mean, deviation = map(float, re.findall(r"[\d.]+", " ".join(brackets))) if brackets else (None, None)
        expected = Number(float(error), mean=mean, deviation=deviation)
        assert (row.model, row.data, row.paper) == (model, data, (expected,))
    assert [row.name for row in own if row.recipe != "paper_cifar"] == ["preactivation_1001_batch_64_cifar10"]
    assert RECIPES[TABLES[4]["preactivation_1001_batch_64_cifar10"].recipe].batch_size == 64


def test_table_5():
    found = [(row, number) for row in TABLES[5].rows for number in row.paper]
    for (row, number), (depth, kind, *numbers) in zip(found, _lines(IMAGENET), strict=True):
        assert [number.crop, number.error, number.top5] == [float(value) for value in numbers]
        assert row.data == "imagenet2012"
        if depth == "-":
            assert row.model is None
            continue
        prefix = "ResNet" if kind in ("original", "bn") else "PreResNet"
        assert (row.model, row.recipe) == (f"{prefix}{depth}", "paper_imagenet")
        assert row.options == ({"design": "bn_after_addition"} if kind == "bn" else {})
        assert row.overrides == ({"augmentation": "inception"} if kind == "inception" else {})


@pytest.mark.parametrize("number", TABLES)
def test_rows_have_names_of_their_own_that_are_names_of_folders_and_nets_of_the_zoo(number):
    table = TABLES[number]
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    assert {row.model for row in table.rows if row.model} <= set(list_models())


@pytest.mark.parametrize(
    ("number", "name", "options", "run"),
    [
        (1, "identity", {"depth": 20}, 1),
        (
            1,
            "scaling_0",
            {"depth": 20, "shortcut": "constant_scaling", "shortcut_options": {"scale": 0, "residual_scale": 1}},
            3,
        ),
        (2, "relu_only_preactivation_164", {"depth": 20, "design": "relu_only_preactivation"}, 1),
        (3, "preactivation_110_one_layer_cifar10", {"depth": 20, "branch": "one_layer"}, 2),
    ],
)
def test_a_row_is_the_run_of_the_trainer_of_the_same_flags(number, name, options, run):
    row = TABLES[number][name]
    scale = Scale("20", 2000, precision="mixed_bfloat16")
    assert scale.job(row, run, "runs/a/run1", "tfds") == Job(
        "cifar10",
        row.model,
        model_options=options,
        recipe="paper_cifar",
        recipe_overrides={"train_steps": 2000},
        precision="mixed_bfloat16",
        seed=run - 1,
        data_dir="tfds",
        run_dir="runs/a/run1",
        export=False,
    )


def test_a_row_at_the_papers_scale_overrides_nothing():
    job = Scale().job(TABLES[2]["original_164"], 1, "run")
    assert (job.model_options, job.recipe_overrides, job.precision, job.data) == ({}, {}, "float32", "cifar10")
    assert Scale().job(TABLES[5]["preactivation_200_inception"], 1, "run").recipe_overrides == {
        "augmentation": "inception"
    }


@pytest.mark.parametrize(
    ("number", "name", "depth"),
    [
        (2, "original_110", 8),
        (2, "original_164", 11),
        (3, "baseline_110_one_layer_cifar10", 5),
        (3, "baseline_1001_cifar10", 11),
        (4, "original_1202_cifar10", 8),
        (5, "original_152", 50),
    ],
)
def test_the_smallest_depth_is_that_of_the_family_and_branch(number, name, depth):
    row = TABLES[number][name]
    assert Scale("smallest").depth_of(row) == depth
    assert Scale().depth_of(row) is None


@pytest.mark.parametrize(
    ("number", "name", "scale", "words"),
    [
        (1, "identity", Scale(), "full: 64,000 steps, depth 110"),
        (1, "identity", Scale("110", 64_000), "full: 64,000 steps, depth 110"),
        (1, "identity", Scale("20", 2000), "2,000 of 64,000 steps, depth 20 of 110"),
        (
            2,
            "original_164",
            Scale("smallest", precision="mixed_bfloat16"),
            "depth 11 of 164, in mixed_bfloat16",
        ),
        (
            4,
            "preactivation_1001_batch_64_cifar10",
            Scale(None, 100, 32, "some/set.npz"),
            "100 of 156,250 steps, batch 32 instead of 64, set.npz instead of cifar10",
        ),
        (1, "identity", Scale(cpu_replicas=2), "batch norm over 1/2 of the batch"),
        (1, "identity", Scale(image_size=16), "images resized to 16 pixels"),
        (5, "original_152", Scale(image_size=112), "trained at 112 of 224 pixels, tested at 160 of 320"),
    ],
)
def test_all_that_is_below_the_papers_scale_is_said(number, name, scale, words):
    row = TABLES[number][name]
    assert scale.words(row, row.paper[-1]) == words


def test_the_test_size_keeps_its_proportion_and_224_is_the_trainers_own_test():
    at_224, at_320 = TABLES[5]["original_152"].paper
    assert [Scale().crop(at_224), Scale().crop(at_320)] == [None, 320]
    assert [Scale(image_size=32).crop(at_224), Scale(image_size=32).crop(at_320)] == [None, 46]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: choose_table("6"), "--table=6 is unknown; allowed: 1, 2, 3, 4, 5, recipes"),
        (lambda: choose_table(None), "--table is missing; allowed: 1, 2, 3, 4, 5, recipes"),
        (
            lambda: choose_rows(TABLES[2], ["original_110", "preactivation_110"]),
            "--rows=preactivation_110 is unknown in table 2; the nearest are full_preactivation_110",
        ),
        (lambda: choose_rows(TABLES[1], ["zzz"]), "--rows=zzz is unknown in table 1; --list shows them all"),
        (lambda: choose_rows(TABLES[4], ["NIN_cifar10"]), "--rows=NIN_cifar10 is refused: it is of another paper"),
        (lambda: choose_rows(TABLES[1], []), "--rows is empty"),
        (lambda: Scale("twenty").depth_of(TABLES[1]["identity"]), "--depth=twenty is refused: a number of layers or"),
        (
            lambda: Scale("11").depth_of(TABLES[1]["identity"]),
            "--depth=11 does not fit the row identity: .* 8 and 14. --depth=smallest fits every row",
        ),
        (lambda: Scale("18").depth_of(TABLES[5]["original_152"]), "--depth=18 does not fit the row original_152"),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(call, words):
    with pytest.raises(UserError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_rows_are_chosen_in_the_tables_order_and_those_of_others_never():
    assert [row.name for row in choose_rows(TABLES[1], ["dropout", "identity"])] == ["identity", "dropout"]
    chosen = choose_rows(TABLES[4], ["all"])
    assert len(chosen) == 9
    assert all(row.model for row in chosen)


def test_a_new_row_is_one_line():
    table = dataclasses.replace(TABLES[1], rows=(*TABLES[1].rows, Row("new", "PreResNet20", (Number(8.0),))))
    assert choose_rows(table, ["new"])[0].net == "PreResNet20"

"""Studies of signal propagation: what is measured, written and refused; and that the tutorial's commands run."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from programs import run_program

from training import job, propagation_study
from training.errors import UserError
from training.propagation_study import PropagationJob, run

TUTORIAL = (Path(__file__).parents[2] / "docs" / "why_identity_mappings.md").read_text()
SMALL = {"models": ["PreResNet20"], "image_size": 8, "batch_size": 2}
SHORTCUTS = {
    "identity",
    "constant scaling 0.5",
    "exclusive gating",
    "shortcut-only gating",
    "1x1 convolution",
    "dropout 0.5",
}
DESIGNS = {
    "original",
    "BN after addition",
    "ReLU before addition",
    "ReLU-only pre-activation",
    "full pre-activation",
}
REFERENCES = {"plain net, h = 0", "h = 1.1 x"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    overrides = {"train_steps": 2, "batch_size": 8}
    job.run(job.Job("digits", "PreResNet20", recipe_overrides=overrides, run_dir=folder / "a", export=False))
    return folder / "a"


def tables(folder):
    return pd.read_csv(folder / "propagation.csv"), json.loads((folder / "propagation.json").read_text())


def commands(program):
    """The flags of the tutorial's commands, as a dict for each."""
    lines = re.findall(rf"^python -m training\.{program} (.*)$", TUTORIAL, re.MULTILINE)
    return [dict(flag.removeprefix("--").split("=", 1) for flag in line.split()) for line in lines]


def test_the_program_draws_the_six_shortcuts(tmp_path):
    flags = ("--models=PreResNet20", "--image_size=8", "--batch_size=2", "--output_dir=out")
    process = run_program("propagation", *flags, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "PreResNet20, identity: the signal of the last unit is " in process.stdout
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"propagation.csv", "propagation.json", "propagation.png", "propagation.svg"}
    table, facts = tables(tmp_path / "out")
    assert set(table["net"]) == SHORTCUTS | REFERENCES
    assert len(table) == 8 * 9
    assert facts["settings"]["seed"] == 0
    assert facts["environment"]["keras"].startswith("3.")
    identity = facts["nets"][0]
    rows = table[table["net"] == "identity"]
    assert identity["forward_gain"] == pytest.approx(rows["output_norm"].iloc[-1] / rows["x_norm"].iloc[0])
    assert identity["stages"][0]["additive_residue"] < 1e-6
    assert identity["stages"][0]["split_residue"] < 1e-5
    picture = imread(tmp_path / "out" / "propagation.png")
    assert min(picture.shape[:2]) > 500
    assert picture.std() > 0.05
    assert str(tmp_path) not in (tmp_path / "out" / "propagation.json").read_text()


@pytest.mark.parametrize(
    ("net", "folder"),
    [
        ("runs/Rate_0.1", "rate_0.1"),
        ("runs/one/model.keras", "one_model"),
        ("PreResNet20:cifar10", "preresnet20_cifar10"),
    ],
)
def test_the_default_folder_bears_the_name_of_the_net(net, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "Rate_0.1").mkdir(parents=True)
    (tmp_path / "runs" / "one").mkdir()
    (tmp_path / "runs" / "one" / "model.keras").touch()
    assert PropagationJob(net=net).folder_name == folder


def test_the_tutorials_commands_are_of_this_program():
    assert commands("propagation") == [
        {"study": "activations", "models": "PreResNet110", "data": "cifar10"},
        {"study": "shortcuts", "data": "cifar10"},
        {"study": "activations", "data": "cifar10"},
        *({"net": f"PreResNet{depth}:cifar10", "data": "cifar10"} for depth in (20, 56, 164)),
    ]


def test_the_tutorials_lines_of_python_run(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    names = {}
    exec(block, names)
    assert len(names["found"].units) == 9
    products = [row["product"] for row in names["found"].units[:3]]
    assert products == [0.125, 0.25, 0.5]
    assert "measured_product" in capsys.readouterr().out


@pytest.mark.slow
def test_the_five_activations(tmp_path):
    run(PropagationJob(study="activations", **SMALL, output_dir=str(tmp_path)))
    table, facts = tables(tmp_path)
    assert set(table["net"]) == DESIGNS | REFERENCES
    assert all(np.isfinite(net["backward_gain"]) for net in facts["nets"])


def test_the_tutorials_other_commands_are_those_of_the_programs():
    assert commands("train") == []
    assert re.findall(r"training\.reproduce (\S+)`", TUTORIAL) == ["--table=1"]


def test_the_tutorials_numbers_are_those_of_the_files_beside_it():
    folder = Path(__file__).parents[2] / "docs" / "propagation"
    nets = {
        (name, net["model"], net["net"]): net
        for name in ("shortcuts", "activations", "preresnet20", "preresnet56", "preresnet164")
        for net in json.loads((folder / f"{name}.json").read_text())["nets"]
    }

    def residue(net, key="additive_residue"):
        return max(stage[key] for stage in nets[net]["stages"])

    for design, shown in (("full pre-activation", 1.8e-7), ("original", 1.1), ("BN after addition", 3.5)):
        assert residue(("activations", "PreResNet110", design)) == pytest.approx(shown, rel=0.05)
    assert residue(("activations", "PreResNet110", "full pre-activation"), "split_residue") < 1.3e-7
    for net, shown in (("identity", 362), ("plain net, h = 0", 2.56e8)):
        assert nets["shortcuts", "PreResNet110", net]["backward_gain"] == pytest.approx(shown, rel=0.01)
    for design, signal, gradient in re.findall(r"^\| ([^|]+) \| ([\d.]+) \| ([\d.]+e\d+) \|$", TUTORIAL, re.MULTILINE):
        net = nets["activations", "PreResNet1001", design]
        assert net["forward_gain"] == pytest.approx(float(signal), rel=0.03)
        assert net["backward_gain"] == pytest.approx(float(gradient), rel=0.05)
    trained = re.findall(r"^\| (PreResNet\d+) \|" + r" ([\d.e-]+) \|" * 4 + "$", TUTORIAL, re.MULTILINE)
    assert len(trained) == 3
    for model, *shown in trained:
        before, after = ((model.lower(), model, net) for net in ("at initialization", "as trained"))
        numbers = [float(number) for number in shown]
        assert [residue(after), residue(after, "split_residue")] == pytest.approx(numbers[:2], rel=0.03)
        assert [nets[net]["backward_gain"] for net in (before, after)] == pytest.approx(numbers[2:], rel=0.01)


def test_a_run_under_way_is_measured_from_its_newest_checkpoint(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(propagation_study, "REFERENCES", {})
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "model.keras").unlink()
    settings = {"data": "digits", "batch_size": 2, "tape": False}
    run(PropagationJob(net=str(folder), output_dir=str(tmp_path / "one"), **settings))
    assert "the checkpoint of step 2" in capsys.readouterr().out
    run(PropagationJob(net=str(trained), output_dir=str(tmp_path / "two"), **settings))
    (one, _), (two, _) = tables(tmp_path / "one"), tables(tmp_path / "two")
    assert one["model"].iloc[0] == "PreResNet20 after 2 steps"
    assert set(two["net"]) == {"as trained", "at initialization"}
    for column in ("x_norm", "gradient_norm"):
        np.testing.assert_allclose(one[column][:9], two[column][:9], rtol=1e-5)
        assert (one[column][9:18] != one[column][:9].to_numpy()).all()  # The net at its initialization is another one.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"study": "net"}, "--study=net needs --net, a run folder or .keras file"),
        ({"study": "shortcuts", "net": "run"}, "exclude each other"),
        ({"net": "nowhere"}, "--net=nowhere does not exist; a run folder, a .keras file, or packaged weights as "),
        ({"net": "."}, "--net=. holds no net; a run folder, a .keras file, or packaged weights as "),
        ({"net": "run", "models": ["PreResNet20"]}, "--models and --design are those of --net"),
        ({"study": "activations", "design": "original"}, "that study has all designs"),
        ({"models": ["PreResNet21"]}, "PreResNet20"),
        ({"design": "postactivation"}, "full_preactivation"),
        ({"data": "nothing_like_it"}, "nothing_like_it"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(settings, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        run(PropagationJob(**{"batch_size": 2, **settings}))
    assert "\n" not in str(error.value)
    assert words in str(error.value)

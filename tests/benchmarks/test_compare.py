"""The comparison with peers: what is measured, in what order, and what is said of what cannot be measured."""

import json
from pathlib import Path

import keras
import pandas as pd
import pytest
import tensorflow as tf

from benchmarks import comparison, contestants, processes, with_tensorflow
from benchmarks.comparison_report import frame_of, write_report
from benchmarks.contestants import CONTESTANTS, NETS, OURS, REPLICAS, Contestant
from benchmarks.processes import ContestantProcess, Measured
from benchmarks.with_tensorflow import keras_training_step, multiply_adds, our_training_step
from benchmarks.worker import Job, share_of
from keras_preresnet import create_model
from training.devices import usable_cores
from training.errors import UserError

TENSORFLOW = "benchmarks.with_tensorflow"


def _job(package=OURS, task="training", net="PreResNet20", precision="float32", batch_size=10):
    return Job(TENSORFLOW, package, precision, "", task, net, batch_size)


def test_a_contestant_runs_in_a_process_of_its_own_and_a_missing_package_is_a_row(tmp_path):
    """Ours on replicas here; without them its step runs below."""
    replicas = _job(batch_size=usable_cores())._replace(setting=REPLICAS)
    jobs = [replicas, _job(package="PyTorch")._replace(module="benchmarks.with_nothing")]
    ours, absent = comparison.measure(jobs, tmp_path, turns=2, seconds=0.0, start_limit=300.0, together=2)
    assert ours.absent is None
    assert len(ours.rates) == 2
    assert 0 < ours.seconds["construction"] + ours.seconds["trace"] + ours.seconds["first step"] < ours.start
    assert ours.facts["multiply_adds"] == 40_813_184
    assert ours.facts["threads"]["intra_op"] == 1
    assert 1e8 < ours.peak_memory < 1e10
    assert absent.absent == "ended with code 1: ModuleNotFoundError: No module named 'benchmarks.with_nothing'"
    assert absent.rates == []


def test_a_contestant_that_is_too_slow_to_begin_is_stopped(tmp_path):
    process = ContestantProcess(_job(), tmp_path, start_limit=0.05)
    process.start()
    assert process.turn(1.0) is None
    assert process.end().absent == "no first step within 0 s"
    process.kill()


STAND_IN = """
import time
from benchmarks.worker import Prepared

def prepare(job):
    print("this is", job.net)
    return Prepared(lambda: time.sleep(0.001), {}, dict)
"""


def test_one_that_is_killed_between_its_turns_is_absent_for_a_reason_of_its_own(tmp_path, monkeypatch):
    """As a system without memory does it. The reason is no line of the other process, which has printed since."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    jobs = [_job(net=net)._replace(module="stand_in") for net in ("a", "b")]
    killed, other = (ContestantProcess(job, tmp_path, start_limit=300.0) for job in jobs)
    killed.start()
    assert killed.turn(0.0) > 0
    other.start()
    killed._process.kill()
    killed._process.wait()
    assert killed.turn(0.0) is None
    assert killed.end().absent == "ended with code -9: this is a"
    assert other.turn(0.0) > 0
    assert other.end().absent is None
    killed.kill()
    other.kill()


def test_a_batch_is_shared_among_the_cores_or_left_out():
    assert [share_of(128, 2, False), share_of(7, 1, True)] == [64, 7]
    with pytest.raises(ValueError, match="left out: 16 images do not divide among 6 cores"):
        share_of(16, 6, False)
    with pytest.raises(ValueError, match="left out: there is a GPU"):
        share_of(128, 2, True)


WITH_OTHERS = """
import multiprocessing
import time
from benchmarks.worker import Prepared

def prepare(job):
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=time.sleep, args=(1000,)) for _ in range(job.batch_size)]
    for process in others:
        process.start()
    return Prepared(lambda: time.sleep(0.001), {}, dict, others)
"""


def test_the_memory_of_a_contestant_is_that_of_all_its_processes(tmp_path, monkeypatch):
    (tmp_path / "with_others.py").write_text(WITH_OTHERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    jobs = [_job(batch_size=count)._replace(module="with_others") for count in (0, 2)]
    alone, three = comparison.measure(jobs, tmp_path, turns=1, seconds=0.5, start_limit=300.0, together=2)
    assert three.peak_memory - alone.peak_memory > 2 * 4e6  # A bare Python takes twice as much.


class _Still:
    """A process that answers at once, and notes what it was asked."""

    def __init__(self, job, logs, start_limit):
        self.job, self.measured = job, Measured(job)

    def start(self):
        self.calls.append(f"start {self.job.package}")

    def turn(self, seconds, beside=None):
        self.calls.append(self.job.package)
        self.measured.rates.append(float(len(self.calls)))
        self.measured.beside.append(beside)
        return self.measured.rates[-1]

    def end(self):
        self.calls.append(f"end {self.job.package}")

    def kill(self):
        """Has nothing to end."""


def test_few_at_a_time_take_turns_with_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "ContestantProcess", _Still)
    monkeypatch.setattr(_Still, "calls", [], raising=False)
    jobs = [_job(package=name) for name in "abcd"]
    first, *_, last = comparison.measure(jobs, tmp_path, turns=2, seconds=1.0, start_limit=1.0, together=3)
    order = "start a, start b, start c, a, b, c, a, b, c, end b, end c, start d, a, d, a, d, end d, end a"
    assert ", ".join(_Still.calls) == order
    assert len(first.rates) == 4
    assert last.beside == first.rates[2:]


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [("keras.applications*", ["has no such net"] * 2), ("*folded", [])],
    ids=["without the net", "without the task"],
)
def test_where_no_contestant_can_do_a_task_one_line_says_so(tmp_path, capsys, pattern, rows):
    contestants = comparison.chosen_contestants([pattern], torch_compile=False)
    limits = (1, 0.0, 1.0, 2)
    found = comparison.measure_task(contestants, "training", NETS["PreResNet20"], tmp_path, limits)
    assert [result.absent for result in found] == rows
    line = "training of PreResNet20: none of the contestants chosen can do it.\n"
    assert capsys.readouterr().out == line


def test_figures_are_images_a_second_milliseconds_and_shares_of_the_peak(tmp_path):
    peak = Job("", "the machine", "float32", "", "peak", "3x3 convolution", 1)
    facts = {"multiply_adds": 1_000}
    results = [
        Measured(peak, rates=[8e6], beside=[None], facts=facts),
        Measured(_job(), rates=[4.0, 5.0, 9.0], beside=[None] * 3, facts={"multiply_adds": 40_000_000, "cores": 2}),
        Measured(_job("PyTorch"), rates=[2.0, 10.0, 3.0], beside=[4.0, 5.0, 9.0], peak_memory=3 * 10**9),
        Measured(_job("PyTorch", "latency", batch_size=1), rates=[250.0, 500.0], beside=[None, 500.0]),
        Measured(_job("keras.applications"), absent="has no such net"),
    ]
    machine, ours, torch, latency, absent = frame_of(results).to_dict("records")
    assert machine["median"] == pytest.approx(16.0)  # GFLOP/s: a multiply-add is two.
    assert (ours["median"], ours["lowest"], ours["highest"]) == (50, 40, 90)
    assert ours["share_of_peak"] == pytest.approx(50 * 40e6 * 3 / 8e9)  # Forward once, backward twice as much.
    assert torch["first/this median"] == 2.0  # Of 2, 0.5 and 3.
    assert latency["median"] == 3.0
    assert latency["first/this median"] == 1.0
    assert absent["note"] == "has no such net"
    write_report(results, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "No accelerator here: figures on a GPU are not measured." in table
    assert "| 10 | PyTorch, float32 | 30 (20 to 100) images/s | 2 (0.5 to 3) |  | 3 |" in table
    assert "| keras.applications, float32 | not measured: has no such net |" in table
    assert len(pd.read_csv(tmp_path / "table.csv")) == len(json.loads((tmp_path / "results.json").read_text())) == 5
    assert (tmp_path / "chart.png").stat().st_size > 5_000


def test_which_nets_and_contestants_are_chosen():
    assert [net.batch_size for net in comparison.chosen_nets(["PreResNet20", "PreResNet1001:16"])] == [128, 16]
    for entry in ("PreResNet21", "PreResNet20:0", "PreResNet20:x"):
        with pytest.raises(UserError, match=f"--nets={entry} is refused: PreResNet20, PreResNet56,"):
            comparison.chosen_nets([entry])
    assert comparison.chosen_contestants(["*"], torch_compile=True) == list(CONTESTANTS)
    names = [contestant.name for contestant in comparison.chosen_contestants(["PyTorch*"], torch_compile=False)]
    assert names == ["PyTorch, bfloat16", "PyTorch, float32", "PyTorch, bfloat16, a process per core"]
    chosen = comparison.chosen_contestants(["*process per core", "PyTorch, *16", "PyTorch*"], torch_compile=False)
    assert [contestant.name for contestant in chosen] == [names[2], names[0], names[1]]
    with pytest.raises(UserError, match="--contestants=x fits none of: keras_preresnet, bfloat16; "):
        comparison.chosen_contestants(["x"], torch_compile=False)


def test_stock_keras_is_left_out_where_it_would_not_fit():
    stock, large = Contestant("stock Keras layers", "float32"), NETS["PreResNet1001"]
    assert "memory" in stock.lacks(large, "training")
    assert stock.lacks(large._replace(batch_size=16), "training") is None
    assert stock.lacks(large, "inference") is None


def test_multiply_adds_are_those_counted_by_hand():
    """3x3x3x16 at 32x32; 6 convolutions of 16; one of 16 to 32 and 5 of 32 at 16x16; alike at 8x8; the classifier."""
    unit = 9 * 16 * 16 * 32 * 32
    expected = 27 * 16 * 32 * 32 + 6 * unit + 2 * (unit // 2 + 5 * unit) + 640
    assert multiply_adds(create_model("PreResNet20")) == expected
    assert multiply_adds(create_model("PreResNet50")) == pytest.approx(4.1e9, rel=0.01)


def test_every_module_that_is_named_is_there():
    root = Path(processes.__file__).parent
    for contestant in CONTESTANTS:
        assert (root / f"{contestants.MODULES[contestant.package].removeprefix('benchmarks.')}.py").exists()


def test_every_program_is_named_in_the_documentation():
    root = Path(processes.__file__).parents[1]
    programs = [path.stem for path in root.glob("benchmarks/*.py") if "run_program(main)" in path.read_text()]
    pages = "".join(path.read_text() for path in [root / "README.md", *root.glob("docs/*.md")])
    assert "compare" in programs
    assert [name for name in programs if f"python -m benchmarks.{name}" not in pages] == []


@pytest.mark.parametrize(("make", "decays"), [(our_training_step, True), (keras_training_step, False)])
def test_of_the_steps_in_tensorflow_ours_alone_decays_weights(make, decays):
    """A kernel that sees nothing but zeros has no other gradient."""
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
    before = model.layers[-1].kernel.numpy()
    make(model, tf.zeros([4, 2, 2, 3]), tf.zeros([4], tf.int64), False)()
    assert (model.layers[-1].kernel.numpy() != before).any() == decays


@pytest.mark.parametrize("visible", [[], ["a GPU"]])
def test_a_gpu_that_the_user_has_hidden_does_not_bring_xla(monkeypatch, visible):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: visible if kind == "GPU" else [])
    monkeypatch.setattr(with_tensorflow, "our_training_step", lambda model, images, labels, compiles: compiles)
    assert with_tensorflow.prepare(_job(batch_size=1)).step == bool(visible)

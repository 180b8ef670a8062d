"""A training job: from its settings to a trained net, tested and exported."""

import dataclasses
import hashlib
import json
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import keras
import tensorflow as tf

from keras_preresnet import set_preprocessing
from keras_preresnet.zoo import canonical_name, create_model
from training.data import ImageData, load_data
from training.devices import (
    agree_with_chief,
    all_agree,
    choose_strategy,
    is_chief,
    lost_workers,
    steps_per_call,
    uses_xla,
    workers,
)
from training.environment import describe_environment
from training.errors import UserError, user_errors
from training.files import require_writable
from training.finishing import finish_run
from training.initial_weights import start_from
from training.loop import Intervals, Training
from training.recipes import RECIPES, Recipe, default_interval, resolve
from training.runs import RunFolder, run_name
from training.step import TrainingStep

DEFAULT_RECIPES = {
    "digits": "digits",
    "cifar10": "paper_cifar",
    "cifar100": "paper_cifar",
    "imagenet2012": "paper_imagenet",
}


@dataclass(frozen=True)
class Job:
    """Everything that a run depends on; the flags of `training.train`, as plain values."""

    data: str
    model: str
    model_options: dict = field(default_factory=dict)
    init_from: str | None = None
    recipe: str | None = None
    recipe_overrides: dict = field(default_factory=dict)
    epochs: float | None = None
    precision: str = "float32"
    jit_compile: str = "auto"
    distribute: str = "auto"
    cpu_replicas: int = 1
    sync_batch_norm: bool = False
    deterministic: bool = False
    seed: int = 0
    train_split: str | None = None
    test_split: str | None = None
    test_fraction: float = 0.1
    image_size: int | None = None
    max_bad_images: int = 0
    classes: int | None = None
    steps_per_evaluation: int | None = None
    # What follows does not change the result, and may differ when a run is gone on with.
    data_dir: str | None = None
    run_dir: str | None = None
    saved_model_dir: str | None = None
    export: bool = True
    steps_per_checkpoint: int = 500
    steps_per_log: int = 100
    steps_per_call: int | None = None

    @property
    def recipe_name(self) -> str:
        """The recipe that was asked for, or the one made for what is trained or trained on; "quick" for all else."""
        if self.recipe is None and self.init_from is not None:
            return "fine_tune"
        return self.recipe or DEFAULT_RECIPES.get(self.data.split(":")[0], "quick")


def run(job: Job) -> None:
    """Trains, tests and exports; goes on with the job's run folder if that has been begun.

    Raises:
        UserError: for settings that cannot work, before anything is written.
        Stopped: if it was told to stop; it has saved a checkpoint.
    """
    _require_compatible(job)
    if job.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = choose_strategy(job.distribute, job.cpu_replicas)
    with lost_workers(strategy):
        _run(job, strategy)


def _run(job, strategy):
    keras.utils.set_random_seed(job.seed)
    data, recipe = _data_and_recipe(job)
    _require_divisible(recipe, strategy.num_replicas_in_sync)
    with strategy.scope():
        model, data = _build_model(job, data)
        step = TrainingStep(model, recipe, job.precision, _compiles(job), job.sync_batch_norm, strategy)
    intervals = _intervals(job, recipe, data)
    record = _record(job, data, recipe, intervals, model, strategy)
    name = run_name(record["settings"]["model"].lower(), data.name)
    saved_models = Path(job.saved_model_dir or f"saved_models/{name}") if job.export else None
    _require_agreement(strategy, record, intervals)
    with closing(RunFolder(job.run_dir or f"runs/{name}")) as folder:
        if not _open(folder, record, saved_models, strategy):
            return
        training = Training(step, data, job.seed, folder if is_chief(strategy) else None, intervals)
        outcome = training.run()
        if is_chief(strategy):
            finish_run(data, folder, saved_models, training.plain_copy(), outcome)


def _require_compatible(job):
    """What excludes each other whatever the data and the devices are."""
    if job.sync_batch_norm and job.jit_compile == "on":
        raise UserError(
            "--sync_batch_norm and --jit_compile=on exclude each other: "
            "statistics cannot be reduced over the replicas from within XLA; give --jit_compile=off."
        )
    if job.sync_batch_norm and job.model_options.get("remat"):
        raise UserError(
            "--sync_batch_norm and --remat=unit exclude each other: "
            "statistics cannot be reduced over the replicas from within a rematerialised unit; give --remat=none."
        )


def _compiles(job):
    return uses_xla(job.jit_compile) and not job.sync_batch_norm


def _data_and_recipe(job):
    """The augmentation says how the data is held, and the data how long the recipe is."""
    settings = {**dataclasses.asdict(RECIPES[job.recipe_name]), **job.recipe_overrides}
    data = load_data(
        job.data,
        job.data_dir,
        job.train_split,
        job.test_split,
        job.image_size,
        settings["augmentation"],
        job.test_fraction,
        job.max_bad_images,
        settings["flip"],
        job.seed,
    )
    recipe, notes = resolve(job.recipe_name, job.recipe_overrides, job.epochs, len(data.train))
    for note in notes:
        print(note)
    return data, recipe


def _require_divisible(recipe, replicas):
    parts = replicas * recipe.accumulation_steps
    if recipe.batch_size % parts:
        raise UserError(
            f"--batch_size={recipe.batch_size} does not divide into {replicas} replicas of "
            f"--accumulation_steps={recipe.accumulation_steps} parts each; give a multiple of {parts}."
        )


def _build_model(job, data):
    classes = len(data.class_names)
    if job.classes not in (None, classes):
        raise UserError(f"--classes={job.classes} does not match the data: {data.name} has {classes} classes.")
    options = {**job.model_options, "unroll": True} if job.sync_batch_norm else dict(job.model_options)
    options |= {"input_shape": data.train.image_shape, "dtype": job.precision}
    with user_errors(ValueError):
        if job.init_from is None:
            model = create_model(job.model, classes=classes, **options)
        else:
            model, data = start_from(job.init_from, job.model, options, data)
        set_preprocessing(model, data.preprocessing, data.class_names)
    return model, data


def _intervals(job, recipe, data):
    calls = steps_per_call(job.steps_per_call)
    return Intervals(
        job.steps_per_evaluation or default_interval(len(data.train), recipe.batch_size),
        job.steps_per_checkpoint,
        job.steps_per_log,
        report=max(10, calls),
        call=calls,
    )


def _record(
    job: Job,
    data: ImageData,
    recipe: Recipe,
    intervals: Intervals,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
) -> dict:
    own = ("train_split", "test_split", "test_fraction", "image_size", "max_bad_images", "model_options", "precision")
    settings = {
        "data": data.name,
        **{name: getattr(job, name) for name in own},
        "model": canonical_name(job.model),
        "init_from": None if job.init_from is None else f"{Path(job.init_from).name}, {_digest(model)}",
        "recipe": job.recipe_name,
        **{name: value for name, value in dataclasses.asdict(recipe).items() if name != "epochs"},
        "jit_compile": _compiles(job),
        "replicas": strategy.num_replicas_in_sync,
        "sync_batch_norm": job.sync_batch_norm,
        "deterministic": job.deterministic,
        "seed": job.seed,
        "steps_per_evaluation": intervals.evaluation,
    }
    return {
        "status": "running",
        "settings": settings,
        "data": {**data.description(), "preprocessing": data.preprocessing.to_dict()},
        "class_names": list(data.class_names),
        "trainable_parameters": sum(weight.value.shape.num_elements() for weight in model.trainable_weights),
        "environment": {**describe_environment(), "workers": workers(strategy)},
    }


def _require_agreement(strategy, record, intervals):
    """Processes with other flags would train other nets, or wait for each other for ever."""
    facts = [record["settings"], record["data"]["sha256"], dataclasses.asdict(intervals)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode()).digest()
    if not all_agree(strategy, int.from_bytes(digest[:6], "big")):
        raise UserError(
            "the processes of the cluster differ in their flags or their data; start the same command in all of them."
        )


def _digest(model):
    """Of the initial weights: names of files say little."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    return f"sha256 {digest.hexdigest()}"


def _open(folder, record, saved_models, strategy):
    """Whether there is something to do. The chief alone looks into the folder, and the others do as it does."""
    goes_on, finished, refused = 0, 1, 2
    answer, problem = goes_on, None
    if is_chief(strategy):
        try:
            if saved_models:
                require_writable(saved_models, "saved_model_dir")
            answer = finished if folder.open(record) else goes_on
        except UserError as error:
            answer, problem = refused, error
    answer = agree_with_chief(strategy, answer)
    if answer == refused:
        raise problem or UserError("the chief refused the run; its own message says why.")
    if answer == finished:
        if is_chief(strategy):
            print(
                f"{folder.path} is finished: test error {folder.record['result']['test_error']:.2f} %; "
                f"training.export --net={folder.path} makes a SavedModel of it."
            )
        return False
    if is_chief(strategy):
        _print_plan(record, folder)
    return True


def _print_plan(record, folder):
    settings, data = record["settings"], record["data"]
    at_depth = f" at depth {depth}" if (depth := settings["model_options"].get("depth")) else ""
    replicas = f" on {settings['replicas']} replicas" if settings["replicas"] > 1 else ""
    print(
        f"{settings['model']}{at_depth}, {record['trainable_parameters']:,} parameters, on {data['name']} "
        f"({data['train_images']} training and {data['test_images']} test images), recipe {settings['recipe']}: "
        f"{settings['train_steps']} steps of {settings['batch_size']} images in {settings['precision']}{replicas}; "
        f"{folder.path}",
        flush=True,
    )

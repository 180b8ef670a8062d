"""A training job: from its settings to a trained net, tested and exported."""

import dataclasses
import os
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import keras
import tensorflow as tf

from keras_preresnet.export import export_saved_model, float32_copy
from keras_preresnet.zoo import canonical_name, create_model
from training.data import ImageData, load_data
from training.environment import describe_environment
from training.errors import UserError, user_errors
from training.loop import Intervals, train
from training.recipes import Recipe, resolve
from training.runs import RunFolder, require_writable
from training.step import TrainingStep, make_optimizer

SHORTEST_INTERVAL = 100  # Steps between two evaluations where an epoch has fewer.


@dataclass(frozen=True)
class Job:
    """Everything that a run depends on; the flags of `training.train`, as plain values."""

    data: str
    model: str
    model_options: dict = field(default_factory=dict)
    recipe: str | None = None
    recipe_overrides: dict = field(default_factory=dict)
    epochs: float | None = None
    precision: str = "float32"
    jit_compile: str = "auto"
    seed: int = 0
    train_split: str | None = None
    test_split: str | None = None
    image_size: int | None = None
    classes: int | None = None
    steps_per_evaluation: int | None = None
    # What follows does not change the result, and may differ when a run is gone on with.
    data_dir: str | None = None
    run_dir: str | None = None
    saved_model_dir: str | None = None
    steps_per_checkpoint: int = 500

    @property
    def name(self) -> str:
        """Of the run and of its SavedModel, where the user gives none."""
        return f"{self.model.lower()}_{self.data.replace(':', '_').replace('/', '_')}"


def run(job: Job) -> None:
    """Trains, tests and exports; goes on with the job's run folder if that has been begun.

    Raises:
        UserError: for settings that cannot work, before anything is written.
    """
    data = load_data(job.data, job.data_dir, job.train_split, job.test_split, job.image_size)
    recipe_name = job.recipe or ("digits" if data.name == "digits" else "paper_cifar")
    recipe = resolve(recipe_name, job.recipe_overrides, job.epochs, len(data.train_images))
    keras.utils.set_random_seed(job.seed)
    model = _build_model(job, data)
    per_epoch = max(-(-len(data.train_images) // recipe.batch_size), SHORTEST_INTERVAL)
    intervals = Intervals(job.steps_per_evaluation or per_epoch, job.steps_per_checkpoint)
    record = _record(job, data, recipe_name, recipe, intervals, model)
    saved_models = Path(job.saved_model_dir or f"saved_models/{job.name}")
    require_writable(saved_models, "saved_model_dir")
    with closing(RunFolder(job.run_dir or f"runs/{job.name}")) as folder:
        if folder.open(record):
            print(f"{folder.path} is finished: test error {folder.record['result']['test_error']:.2f} %.")
            return
        _print_plan(record, folder)
        step = TrainingStep(model, make_optimizer(recipe, job.precision), _uses_xla(job.jit_compile))
        score = train(step, data, recipe, job.seed, folder, intervals)
        _save_model(model, folder.path / "model.keras")
        exported = export_saved_model(model, saved_models, data.preprocessing, data.class_names)
        folder.finish({**dataclasses.asdict(score), "test_error": score.error})
        print(f"test accuracy {100 - score.error:.2f} % ({score.images - score.wrong} of {score.images} test images)")
        print(f"run folder {folder.path}, SavedModel {exported}")


def _build_model(job, data):
    classes = len(data.class_names)
    if job.classes not in (None, classes):
        raise UserError(f"--classes={job.classes} does not match the data: {data.name} has {classes} classes.")
    with user_errors(ValueError):
        return create_model(
            job.model,
            input_shape=data.train_images.shape[1:],
            classes=classes,
            dtype=job.precision,
            **job.model_options,
        )


def _uses_xla(jit_compile):
    """XLA makes CPU code that is slower than TensorFlow's own."""
    return jit_compile == "on" or (jit_compile == "auto" and bool(tf.config.list_physical_devices("GPU")))


def _record(job: Job, data: ImageData, recipe_name: str, recipe: Recipe, intervals: Intervals, model: keras.Model):
    settings = {
        "data": job.data,
        "train_split": job.train_split,
        "test_split": job.test_split,
        "image_size": job.image_size,
        "model": canonical_name(job.model),
        "model_options": job.model_options,
        "recipe": recipe_name,
        **dataclasses.asdict(recipe),
        "precision": job.precision,
        "jit_compile": job.jit_compile,
        "seed": job.seed,
        "steps_per_evaluation": intervals.evaluation,
    }
    return {
        "status": "running",
        "settings": settings,
        "data": {**data.description(), "preprocessing": data.preprocessing.to_dict()},
        "class_names": list(data.class_names),
        "trainable_parameters": sum(weight.value.shape.num_elements() for weight in model.trainable_weights),
        "environment": describe_environment(),
    }


def _print_plan(record, folder):
    settings, data = record["settings"], record["data"]
    print(
        f"{settings['model']}, {record['trainable_parameters']:,} parameters, on {data['name']} "
        f"({data['train_images']} training and {data['test_images']} test images), recipe {settings['recipe']}: "
        f"{settings['train_steps']} steps of {settings['batch_size']} images in {settings['precision']}; {folder.path}"
    )


def _save_model(model, path):
    partial = path.with_name(f".partial.{path.name}")
    float32_copy(model).save(partial)
    os.replace(partial, path)

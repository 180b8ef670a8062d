"""At which scale a table is run: every number of it below the table's own is said beside the results."""

from dataclasses import asdict, dataclass, replace

from keras_preresnet.depths import smallest_depth, units_per_stage
from keras_preresnet.zoo import net_facts
from training.data import is_arrays, is_folder
from training.errors import UserError
from training.evaluation_job import title
from training.job import Job
from training.recipes import RECIPES
from training.tables import Number, Row

SMALLEST = "smallest"
IMAGENET_SIDE = 224


@dataclass(frozen=True)
class Scale:
    """What is not as in the paper, or as a study has it; None: it is.

    Args:
        depth: Layers of every net, or "smallest" of each net's family and branch.
        train_steps: Of every run; drops and warm-up keep their place in proportion.
        batch_size: Of every run; the learning rate is in proportion.
        data: Instead of the data set of each row.
        image_size: Side of the images in pixels instead of 224, in training; those of the test are in proportion.
        precision: In which the nets train; the paper's is "float32".
        cpu_replicas: Parts of the CPU that share each batch, and its batch norm; the paper had two GPUs.
    """

    depth: str | None = None
    train_steps: int | None = None
    batch_size: int | None = None
    data: str | None = None
    image_size: int | None = None
    precision: str = "float32"
    cpu_replicas: int | None = None

    def record(self) -> dict:
        """Returns the settings as they are written down: of the data the name and no path."""
        return {**asdict(self), "data": self.data and title(self.data)}

    def depth_of(self, row: Row) -> int | None:
        """Returns the depth of the row's net, None for its own.

        Raises:
            UserError: if there is no such net of the row's family.
        """
        if self.depth is None:
            return None
        _, family, branch = net_facts(row.model)
        branch = row.options.get("branch", branch)
        if self.depth == SMALLEST:
            return smallest_depth(family, branch)
        if not self.depth.isdecimal():
            raise UserError(f"--depth={self.depth} is refused: a number of layers or {SMALLEST} is needed.")
        try:
            units_per_stage(family, int(self.depth), None, branch)
        except ValueError as error:
            raise UserError(
                f"--depth={self.depth} does not fit the row {row.name}: {error} --depth={SMALLEST} fits every row, "
                "and --rows leaves some out."
            ) from error
        return int(self.depth)

    def job(self, row: Row, run: int, run_dir: str, data_dir: str | None = None) -> Job:
        """Returns the training of a run of the row, counted from 1.

        Raises:
            UserError: for a depth that does not fit, and a batch size for a row that is about it.
        """
        depth = self.depth_of(row)
        train_split, test_split = self._splits(row)
        return Job(
            self.data or row.data,
            row.model,
            model_options={**({"depth": depth} if depth else {}), **row.options},
            recipe=row.recipe,
            recipe_overrides=self._overrides(row),
            epochs=None if self.train_steps else row.epochs,
            precision=self.precision,
            cpu_replicas=self.cpu_replicas or 1,
            seed=run - 1,
            train_split=train_split,
            test_split=test_split,
            image_size=self.image_size,
            data_dir=data_dir,
            run_dir=run_dir,
            export=False,
        )

    def _overrides(self, row):
        """The row's, whose own rate moves with the batch as that of the recipe does."""
        if self.batch_size and "batch_size" in row.overrides:
            raise UserError(
                f"--batch_size={self.batch_size} is refused for the row {row.name}, which has one of its own; "
                "--rows leaves it out."
            )
        sizes = {"batch_size": self.batch_size, "train_steps": self.train_steps}
        overrides = {**row.overrides, **{name: value for name, value in sizes.items() if value}}
        if self.batch_size and "learning_rate" in row.overrides:
            overrides["learning_rate"] *= self.batch_size / RECIPES[row.recipe].batch_size
        return overrides

    def _splits(self, row):
        """Those of the row; other sets than those of TFDS have two halves and no more."""
        data = self.data or row.data
        return (None, None) if is_arrays(data) or is_folder(data) else (row.train_split, row.test_split)

    def crop(self, number: Number) -> int | None:
        """Returns the side of the images that a net is tested on with the short side as long.

        None stands for the trainer's test: the size of the training, of ImageNet the central crop of 256/224.
        """
        if number.crop in (None, IMAGENET_SIDE):
            return None
        return round(number.crop * (self.image_size or IMAGENET_SIDE) / IMAGENET_SIDE)

    def words(self, row: Row, number: Number) -> str:
        """Returns all that is below the table's own, or "full": what has to stand beside every result."""
        recipe, (own_depth, _, _) = replace(RECIPES[row.recipe], **row.overrides), net_facts(row.model)
        batch, depth = self.batch_size or recipe.batch_size, self.depth_of(row)
        full = f"{row.epochs:g} epochs" if row.epochs else f"{recipe.train_steps:,} steps"
        parts = []
        if self.train_steps and row.epochs:
            parts.append(f"{self.train_steps:,} steps instead of {full}")
        elif self.train_steps not in (None, recipe.train_steps):
            parts.append(f"{self.train_steps:,} of {full}")
        if depth not in (None, own_depth):
            parts.append(f"depth {depth} of {own_depth}")
        if batch != recipe.batch_size:
            parts.append(f"batch {batch} instead of {recipe.batch_size}")
        if self.data and title(self.data) != row.data:
            parts.append(f"{title(self.data)} instead of {row.data}")
        if self._splits(row) != (row.train_split, row.test_split):
            parts.append("tested on its own test images")
        if number.crop and self.image_size not in (None, IMAGENET_SIDE):
            tested = self.crop(number) or self.image_size
            parts.append(f"trained at {self.image_size} of {IMAGENET_SIDE} pixels, tested at {tested} of {number.crop}")
        if self.image_size and not number.crop:
            parts.append(f"images resized to {self.image_size} pixels")
        if self.precision != "float32":
            parts.append(f"in {self.precision}")
        if self.cpu_replicas:
            parts.append(f"batch norm over 1/{self.cpu_replicas} of the batch")
        return ", ".join(parts) or f"full: {full}, depth {own_depth}"

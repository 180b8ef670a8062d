"""At which scale a table is run: every number of it below the paper's is said beside the results."""

from dataclasses import asdict, dataclass

from keras_preresnet.depths import smallest_depth, units_per_stage
from keras_preresnet.zoo import net_facts
from training.errors import UserError
from training.evaluation_job import title
from training.job import Job
from training.recipes import RECIPES
from training.tables import Number, Row

SMALLEST = "smallest"
IMAGENET_SIDE = 224


@dataclass(frozen=True)
class Scale:
    """What is not as in the paper; None: it is.

    Args:
        depth: Layers of every net, or "smallest" of each net's family and branch.
        train_steps: Of every run; drops and warm-up keep their place in proportion.
        batch_size: Of every run; the learning rate is in proportion.
        data: Instead of the data set of each row.
        image_size: Side of the images in pixels instead of 224, in training; those of the test are in proportion.
        precision: In which the nets train; the paper's is "float32".
    """

    depth: str | None = None
    train_steps: int | None = None
    batch_size: int | None = None
    data: str | None = None
    image_size: int | None = None
    precision: str = "float32"

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
        """Returns the training of a run of the row, counted from 1; raises UserError for a depth that does not fit."""
        depth = self.depth_of(row)
        sizes = {"batch_size": self.batch_size, "train_steps": self.train_steps}
        return Job(
            self.data or row.data,
            row.model,
            model_options={**({"depth": depth} if depth else {}), **row.options},
            recipe=row.recipe,
            recipe_overrides={**row.overrides, **{name: value for name, value in sizes.items() if value}},
            precision=self.precision,
            seed=run - 1,
            image_size=self.image_size,
            data_dir=data_dir,
            run_dir=run_dir,
            export=False,
        )

    def crop(self, number: Number) -> int | None:
        """Returns the side of the images that a net is tested on with the short side as long.

        None stands for the trainer's test: the size of the training, of ImageNet the central crop of 256/224.
        """
        if number.crop in (None, IMAGENET_SIDE):
            return None
        return round(number.crop * (self.image_size or IMAGENET_SIDE) / IMAGENET_SIDE)

    def words(self, row: Row, number: Number) -> str:
        """Returns all that is below the paper's, or "full": what has to stand beside every result."""
        recipe, (own_depth, _, _) = RECIPES[row.recipe], net_facts(row.model)
        batch, depth = self.batch_size or recipe.batch_size, self.depth_of(row)
        parts = []
        if self.train_steps not in (None, recipe.train_steps):
            parts.append(f"{self.train_steps:,} of {recipe.train_steps:,} steps")
        if depth not in (None, own_depth):
            parts.append(f"depth {depth} of {own_depth}")
        if batch != recipe.batch_size:
            parts.append(f"batch {batch} instead of {recipe.batch_size}")
        if self.data and title(self.data) != row.data:
            parts.append(f"{title(self.data)} instead of {row.data}")
        if number.crop and self.image_size not in (None, IMAGENET_SIDE):
            tested = self.crop(number) or self.image_size
            parts.append(f"trained at {self.image_size} of {IMAGENET_SIDE} pixels, tested at {tested} of {number.crop}")
        if self.image_size and not number.crop:
            parts.append(f"images resized to {self.image_size} pixels")
        if self.precision != "float32":
            parts.append(f"in {self.precision}")
        return ", ".join(parts) or f"full: {recipe.train_steps:,} steps, depth {own_depth}"

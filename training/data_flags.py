"""A trained net and the images that it is asked about: the settings, and their flags, of every program that asks."""

from dataclasses import KW_ONLY, dataclass

from absl import flags

flags.disclaim_key_flags()  # They are flags of the program that defines them.


@dataclass(frozen=True)
class NetJob:
    """The flags as plain values; None stands for what the net's run had."""

    net: str
    _: KW_ONLY
    data: str | None = None
    data_dir: str | None = None
    train_split: str | None = None
    test_split: str | None = None
    image_size: int | None = None
    augmentation: str | None = None
    test_fraction: float | None = None
    seed: int | None = None
    max_bad_images: int | None = None


def define_data_flags() -> None:
    """Defines a flag for each setting of `NetJob` but the net."""
    of_run = "default: that of the run"
    flags.DEFINE_string("data", None, f"data set of the images; {of_run}")
    flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
    flags.DEFINE_string("train_split", None, f"TFDS split that the net was trained on; {of_run}")
    flags.DEFINE_string("test_split", None, f"TFDS split to test on; {of_run}, else test, or validation")
    flags.DEFINE_integer("image_size", None, "side to which images are resized; default: that of the net", 1)
    flags.DEFINE_string(
        "augmentation",
        None,
        "of the run, which decides how images are read: of scale and inception the shorter side is 256/224 of the "
        f"image size, else as long; {of_run}",
    )
    flags.DEFINE_float("test_fraction", None, f"share held out where there is no test set; {of_run}", 0, 1)
    flags.DEFINE_integer("seed", None, f"of the run, which decides what is held out; {of_run}", 0, 2**32 - 1)
    flags.DEFINE_integer("max_bad_images", None, f"images that may be undecodable; {of_run}", 0)

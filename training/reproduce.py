"""Reproduces a table of the paper: python -m training.reproduce --table=1 --depth=20 --train_steps=3200.

--table=recipes is a study in the same form, of what the numbers of a recipe do.

Every row is a run of `training.train` in --run_dir/<row>/run<number>, with the seed number - 1. Beside them lie,
written again after each run:

table.md, table.csv     the results beside the paper's numbers if it has them, each with its scale
table.html              the same, to sort, with the curves of each row; needs no network
curves.png, curves.svg  the training curves of all rows
table.json              which table it is, and at which scale
"""

import dataclasses
from pathlib import Path

import tensorflow as tf
from absl import flags

from training.errors import run_program
from training.reproduction import CHOICES, Reproduction, choose_rows, choose_table
from training.reproduction_report import list_rows
from training.scales import Scale

FLAGS = flags.FLAGS

flags.DEFINE_string("table", None, f"number of the paper's table, or a study: {', '.join(CHOICES)}")
flags.DEFINE_list("rows", ["all"], "names of rows, or all; --list shows them")
flags.DEFINE_bool("list", False, "list the rows, all or those of --rows, and run nothing")
flags.DEFINE_string("depth", None, "layers of every net, or smallest: of each net's family; default: the paper's")
flags.DEFINE_integer("train_steps", None, "of every run; default: the recipe's", lower_bound=1)
flags.DEFINE_integer("batch_size", None, "images in a training step; default: the recipe's", lower_bound=1)
flags.DEFINE_integer("runs", None, "of each row; default: 5 as in the paper, of Table 5 and a study 1", lower_bound=1)
flags.DEFINE_enum("precision", "float32", ["float32", "mixed_bfloat16", "mixed_float16"], "in which the nets train")
flags.DEFINE_integer("cpu_replicas", None, "as of training.train: parts of the CPU that share each batch", 2)
flags.DEFINE_string("data", None, "instead of each row's data set; see --data of training.train")
flags.DEFINE_string("data_dir", None, "folder of TFDS; default: the environment's TFDS_DATA_DIR, else TFDS's own")
flags.DEFINE_integer("image_size", None, "side of the images in training, in pixels; default: the data set's", 1)
flags.DEFINE_string(
    "run_dir", None, "folder of the table, to go on with too; default: runs/table<number>, runs/<study>"
)


def main() -> None:
    """Reads the flags and runs the table that they describe."""
    tf.get_logger().setLevel("ERROR")  # It warns that functions are traced again and again, as each row has its own.
    table = choose_table(FLAGS.table)
    rows = choose_rows(table, FLAGS.rows)
    if FLAGS.list:
        list_rows(table, rows)
        return
    scale = Scale(**{setting.name: FLAGS[setting.name].value for setting in dataclasses.fields(Scale)})
    folder = Path(FLAGS.run_dir or f"runs/{table.folder_name}")
    Reproduction(table, rows, scale, FLAGS.runs or table.runs, folder, FLAGS.data_dir).run()
    print(f"written to {folder}: table.html, table.md, table.csv, curves.png, curves.svg")


if __name__ == "__main__":
    run_program(main)

"""The devices of a run: one, several of one machine, or those of several machines (TF_CONFIG)."""

import functools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import tensorflow as tf

from keras_preresnet.devices import has_accelerator
from training.errors import UserError, user_errors
from training.optimizer import assign

DISTRIBUTIONS = ("auto", "none", "mirrored", "multi_worker")


def choose_strategy(distribute: str = "auto", cpu_replicas: int = 1) -> tf.distribute.Strategy:
    """Returns the strategy, to be called before TensorFlow has done anything else.

    Args:
        distribute: "none"; "mirrored" over the GPUs of this machine; "multi_worker" over the processes that TF_CONFIG
            names; "auto": the last that applies.
        cpu_replicas: More than 1 splits the CPU: each replica computes its share of the batch on its share of the
            cores, with batch norm over that share alone. One for each core is faster on small images than all
            cores at one operation after another.

    Raises:
        UserError: if the devices are not there, or two settings exclude each other.
    """
    workers = _workers()
    if cpu_replicas > 1:
        if workers > 1:
            raise UserError(
                f"--cpu_replicas={cpu_replicas} is refused, for TF_CONFIG names {workers} processes: each has one CPU; "
                "start more of them."
            )
        _split_cpu(distribute, cpu_replicas)
    if distribute == "multi_worker" or (distribute == "auto" and workers > 1):
        if not workers:
            raise UserError("--distribute=multi_worker needs the environment variable TF_CONFIG, which is not set.")
        with user_errors(ValueError, tf.errors.OpError):
            return _multi_worker()
    gpus = tf.config.list_logical_devices("GPU")
    if cpu_replicas > 1:
        return _mirrored(tuple(f"CPU:{index}" for index in range(cpu_replicas)))
    if distribute == "mirrored" and len(gpus) < 2:
        raise UserError(
            f"--distribute=mirrored needs two GPUs, and {len(gpus)} are here; "
            "--cpu_replicas=2 tries it on a split CPU, --distribute=none takes one device."
        )
    return _mirrored() if len(gpus) > 1 and distribute != "none" else tf.distribute.get_strategy()


@functools.cache
def _mirrored(devices: tuple[str, ...] | None = None) -> tf.distribute.Strategy:
    """One for all runs of a process: each strategy numbers its reductions anew, and TensorFlow knows them by number.

    A second one over the same devices is stopped when a number meets another dtype: "Collective instance 452 expected
    type 0 and data_type 2 but got type 0 and data_type 1".
    """
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker() -> tf.distribute.Strategy:
    """One for all runs of a process, for the same reason."""
    return tf.distribute.MultiWorkerMirroredStrategy()


def _workers():
    """How many processes TF_CONFIG names; 0 if it is not set."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    try:
        facts = json.loads(text)
        cluster, task = facts["cluster"], facts["task"]
        cluster[task["type"]][int(task["index"])]  # The address of this process.
        return sum(len(addresses) for job, addresses in cluster.items() if job in ("chief", "worker"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            'TF_CONFIG is no JSON like {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}.'
        ) from error


def _split_cpu(distribute, cpu_replicas):
    if distribute in ("none", "multi_worker"):
        raise UserError(
            f"--cpu_replicas={cpu_replicas} and --distribute={distribute} exclude each other: "
            "only --distribute=mirrored uses several devices of one machine."
        )
    (cpu,) = tf.config.list_physical_devices("CPU")
    logical = [tf.config.LogicalDeviceConfiguration()] * cpu_replicas
    if tf.config.get_logical_device_configuration(cpu) != logical:
        tf.config.set_logical_device_configuration(cpu, logical)
        _share_cores(cpu_replicas)


def _share_cores(replicas):
    """Gives each operation the cores of one replica, unless the user has chosen its threads."""
    threading = tf.config.threading
    if not threading.get_intra_op_parallelism_threads() and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        threading.set_intra_op_parallelism_threads(max(1, usable_cores() // replicas))


def usable_cores() -> int:
    """Returns the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def uses_xla(jit_compile: str) -> bool:
    """Whether "auto", "on" or "off" means XLA here: on a CPU it makes slower code than TensorFlow's own."""
    return jit_compile == "on" or (jit_compile == "auto" and has_accelerator())


def steps_per_call(asked: int | None) -> int:
    """Returns how many steps a call of the training step makes.

    On a CPU a step takes so much longer than its call that several gain nothing, and a signal is heard later.
    """
    return asked or (10 if tf.config.get_visible_devices("GPU") else 1)


def workers(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of processes that train together."""
    return strategy.extended._num_workers if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) else 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes the run folder."""
    resolver = strategy.cluster_resolver
    if workers(strategy) == 1 or resolver is None:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )


def share_from_chief(strategy: tf.distribute.Strategy, variables: Iterable[tf.Variable]) -> None:
    """Gives the chief's values to the other processes, which need no access to its files."""
    variables = list(variables)
    if workers(strategy) == 1:
        return

    def of_the_chief():
        context = tf.distribute.get_replica_context()
        chief = context.replica_id_in_sync_group == 0
        for variable in variables:
            wide = variable.dtype if variable.dtype.is_floating else tf.int64
            value = tf.cast(tf.convert_to_tensor(variable), wide)
            value = tf.where(chief, value, tf.zeros_like(value))
            assign(variable, context.all_reduce(tf.distribute.ReduceOp.SUM, value))

    tf.function(lambda: strategy.run(of_the_chief), autograph=False)()


def all_agree(strategy: tf.distribute.Strategy, number: int) -> bool:
    """Whether every process has given the same number, of at most 48 bits."""
    half = divmod(number, 2**24)
    high, low, *squares = _sums(strategy, [*half, *(part * part for part in half)], chief_alone=False)
    count = strategy.num_replicas_in_sync  # Of equal numbers alone is n times the sum of squares the squared sum.
    return [count * square for square in squares] == [high**2, low**2]


def agree_with_chief(strategy: tf.distribute.Strategy, number: int) -> int:
    """Returns the chief's number in every process."""
    return _sums(strategy, [number], chief_alone=True)[0]


def _sums(strategy, numbers, chief_alone):
    """Of the numbers that the replicas of all processes give, or the chief's first replica alone."""
    if workers(strategy) == 1:
        return [number if chief_alone else number * strategy.num_replicas_in_sync for number in numbers]

    def reduced():
        context = tf.distribute.get_replica_context()
        counts = context.replica_id_in_sync_group == 0 if chief_alone else True
        values = [tf.where(counts, tf.constant(number, tf.int64), 0) for number in numbers]
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

    results = tf.function(lambda: strategy.run(reduced), autograph=False)()
    return [int(strategy.experimental_local_results(result)[0]) for result in results]


@contextmanager
def lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the many errors of the network, as which a process that has gone shows in the others, into a UserError."""
    gone = (
        (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) if workers(strategy) > 1 else ()
    )
    try:
        yield
    except gone as error:
        raise UserError(
            "another process of the cluster has gone; start the same command again in all of them, and the run goes "
            "on from its newest checkpoint."
        ) from error

"""One training step on one device, on several, or on several machines: forward pass, gradients, update, sums.

The forward pass and its gradient are one pure function of weights, statistics and a batch; XLA compiles it on request.
Each replica calls it on its share of the batch; gradients and statistics are then added up over the replicas in one
reduction, and every replica makes the same update of its own copies.
"""

import time

import keras
import tensorflow as tf

from keras_preresnet import synchronize_batch_normalization
from training.optimizer import MomentumSGD, MovingAverage, assign, replica_variable
from training.recipes import Recipe

EXPLODED = 1000.0  # Mean cross entropy of a batch: the right class at a probability of exp(-1000).


class Totals:
    """Sums of loss and right answers over the images of some steps."""

    def __init__(self):
        self.sums = replica_variable([0.0, 0.0, 0.0], tf.float64)

    def add(self, sums: tf.Tensor) -> None:
        """Adds loss, right answers and images, `(3,)`, in a replica function."""
        tf.raw_ops.AssignAddVariableOp(resource=self.sums.handle, value=tf.cast(sums, tf.float64))

    def means(self) -> tuple[float, float]:
        """Returns the mean loss and the accuracy since `reset`."""
        loss, correct, images = self.sums.numpy()
        return loss / max(images, 1), correct / max(images, 1)

    def reset(self) -> None:
        """Starts anew."""
        self.sums.assign([0.0, 0.0, 0.0])


class TrainingStep:
    """Trains `model`, made in the scope of `strategy`, by as many steps a call as are asked for.

    Batches are `(images, labels, weights)`: images as the net takes them, int64 labels, and float32 weights, 0 for an
    image that does not count. With several replicas each takes an equal share of the recipe's batch size.

    Batch norm takes its statistics from each replica's share (with gradient accumulation: from each part of it), as the
    paper does; the moving statistics are the mean over the replicas. The state of a dropout shortcut differs between
    replicas.

    Args:
        model: Its outputs are logits.
        recipe: Of the update; its batch size must divide into replicas and accumulation steps.
        precision: The policy of the model; under "mixed_float16" the loss is scaled.
        jit_compile: Whether XLA compiles the forward pass and the gradients.
        sync_batch_norm: Whether batch norm takes its statistics from the whole batch; then without XLA.
        strategy: Default: one device.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        precision: str = "float32",
        jit_compile: bool = False,
        sync_batch_norm: bool = False,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.model = model
        self.recipe = recipe
        self.strategy = strategy or tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        self.trainable = [variable.value for variable in model.trainable_variables]
        self.state = [variable.value for variable in model.non_trainable_variables]
        self.norm_groups, self._group_members = _groups(model.trainable_variables)
        with self.strategy.scope():
            self.optimizer = MomentumSGD(recipe, model.trainable_variables, precision == "mixed_float16")
            self.average = MovingAverage(model.weights, recipe.ema_momentum) if recipe.ema_momentum else None
            self.since_evaluation, self.since_log = Totals(), Totals()
            self.first_bad_step = replica_variable(0, tf.int64)
            self.gradient_norms = replica_variable([0.0] * len(self.norm_groups), tf.float32)
        if sync_batch_norm:
            synchronize_batch_normalization(model)
        self._gradients = self._loss_and_gradients
        if not sync_batch_norm:  # A function in a function could not be reduced over the replicas from within.
            self._gradients = tf.function(self._gradients, jit_compile=jit_compile, autograph=False)

    def variables_to_save(self) -> dict[str, tf.Variable]:
        """Returns everything that a run goes on from, by name."""
        named = {
            "since_evaluation": self.since_evaluation.sums,
            "since_log": self.since_log.sums,
            "gradient_norms": self.gradient_norms,
        }
        named.update(model_variables(self.model))
        for owner, part in (("optimizer", self.optimizer), ("ema", self.average)):
            if part is not None:
                named.update({f"{owner}/{name}": variable for name, variable in part.variables_to_save().items()})
        return named

    def weights_to_evaluate(self) -> list[tf.Variable]:
        """Returns the model's weights, or their moving average where the recipe asks for one."""
        return [weight.value for weight in self.model.weights] if self.average is None else self.average.averages

    def has_finite_weights(self) -> bool:
        """Whether every weight and statistic of the model is a finite number."""
        return all(bool(tf.reduce_all(tf.math.is_finite(weight.value))) for weight in self.model.weights)

    @property
    def done(self) -> int:
        """Steps done."""
        return int(self.optimizer.step.numpy())

    @tf.function(autograph=False)
    def __call__(
        self, batches: tf.data.Iterator, count: tf.Tensor, stopping: tf.Tensor, head_only: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Makes `count` steps with the next batches.

        Args:
            batches: Iterator over a data set that the strategy has distributed.
            count: int32, at least 1.
            stopping: float32, 1 if this process has been told to stop, else 0.
            head_only: Whether the classifier alone is trained: the body runs as at inference, and nothing of it moves.

        Returns:
            The mean loss of the last step; the seconds that were spent waiting for batches, float64; and how many
            replicas belong to a process that has been told to stop, so that all processes stop after the same step.
        """

        def body(i, loss, waited, stops):
            began = _now()
            with tf.control_dependencies([began]):
                batch = next(batches)
            arrived = [part for parts in batch for part in self.strategy.experimental_local_results(parts)]
            with tf.control_dependencies(arrived):
                ended = _now()
            results = self.strategy.run(self._replica_step, args=(*batch, stopping, ended, head_only))
            loss, stops = (self.strategy.experimental_local_results(result)[0] for result in results)
            return i + 1, loss, waited + (ended - began), stops

        start = (tf.constant(0), tf.constant(0.0), tf.constant(0.0, tf.float64), tf.constant(0.0))
        _, loss, waited, stops = tf.while_loop(lambda i, *_: i < count, body, start)
        return loss, waited, stops

    def _replica_step(self, images, labels, weights, stopping, ended, head_only):
        # Else the clock could be looked at while, or after, the step is made. Given from outside, the control
        # dependency would not reach the threads of the replicas.
        with tf.control_dependencies([ended]):
            images = tf.identity(images)
        sums, gradients, state = self._accumulate(images, labels, weights, head_only)
        sums, stops, gradients, state = self._over_replicas(sums, stopping, gradients, state)
        gradients = self.optimizer.unscaled(gradients)
        for variable, value in zip(self.state, state, strict=True):
            assign(variable, value)
        self.optimizer.apply(gradients, head_only)
        step = self.optimizer.step.read_value()
        if self.average is not None:
            self.average.update(step)
        self._record(sums, gradients, step, head_only)
        return sums[0] / tf.maximum(sums[2], 1), stops

    def _accumulate(self, images, labels, weights, head_only):
        """One part of the batch after another; gradients of sums over images add up to those of the whole batch."""
        offset = self._seed_offset()
        trainable = [tf.convert_to_tensor(variable) for variable in self.trainable]
        state = _shifted([tf.convert_to_tensor(variable) for variable in self.state], offset)
        scale = tf.convert_to_tensor(self.optimizer.loss_scale)
        parts = self.recipe.accumulation_steps
        sums = gradients = None
        for part in zip(*(tf.split(array, parts) for array in (images, labels, weights)), strict=True):
            new_sums, new_gradients, state = self._gradients(trainable, state, scale, *part, head_only)
            if gradients is None:
                sums, gradients = new_sums, new_gradients
            else:
                sums = sums + new_sums
                gradients = [old + new for old, new in zip(gradients, new_gradients, strict=True)]
        return sums, gradients, _shifted(state, -offset)

    def _seed_offset(self):
        """Added to the state of random numbers, so that each replica draws numbers of its own."""
        if self.replicas == 1:
            return tf.constant(0, tf.int64)
        return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64) * 0x9E3779B9

    def _loss_and_gradients(self, trainable, state, scale, images, labels, weights, head_only):
        """Returns sums over the images (loss, right answers, images), gradients, and the new state of the model."""
        watched = [trainable[index] for index in self.optimizer.head] if head_only else trainable
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            logits, state = self.model.stateless_call(trainable, state, images, training=not head_only)
            loss = tf.reduce_sum(weights * self._losses(labels, logits))
            scaled = loss * (scale / self.recipe.batch_size)
        gradients = tape.gradient(scaled, watched)
        correct = tf.reduce_sum(weights * tf.cast(tf.argmax(logits, axis=-1) == labels, tf.float32))
        return tf.stack([loss, correct, tf.reduce_sum(weights)]), gradients, state

    def _losses(self, labels, logits):
        """Cross entropy of each image; smoothing spreads a share of the target over all classes."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        smoothing = self.recipe.label_smoothing
        if not smoothing:
            return losses
        spread = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        return (1 - smoothing) * losses + smoothing * spread

    def _over_replicas(self, sums, stopping, gradients, state):
        if self.replicas == 1:
            return sums, stopping, gradients, state
        floats = [index for index, value in enumerate(state) if value.dtype.is_floating]
        means = [state[index] / self.replicas for index in floats]
        context = tf.distribute.get_replica_context()
        local = [sums, tf.identity(stopping), *gradients, *means]  # As it comes, `stopping` is on no replica's device.
        added = context.all_reduce(tf.distribute.ReduceOp.SUM, local)
        state = list(state)
        for index, value in zip(floats, added[2 + len(gradients) :], strict=True):
            state[index] = value
        return added[0], added[1], added[2 : 2 + len(gradients)], state

    def _record(self, sums, gradients, step, head_only):
        self.since_evaluation.add(sums)
        self.since_log.add(sums)
        known = dict(zip(self.optimizer.head if head_only else range(len(self.trainable)), gradients, strict=True))
        norms = [
            tf.linalg.global_norm([known[index] for index in members if index in known] or [tf.constant(0.0)])
            for members in self._group_members
        ]
        assign(self.gradient_norms, tf.stack(norms))
        first = tf.convert_to_tensor(self.first_bad_step)
        good = sums[0] <= EXPLODED * sums[2]  # False for NaN.
        assign(self.first_bad_step, tf.where(tf.logical_or(good, first != 0), first, step))


def _now():
    """Seconds, by the clock of the host; `tf.timestamp` is refused by deterministic operations."""
    return tf.ensure_shape(tf.numpy_function(time.monotonic, [], tf.float64), [])


def _shifted(state, offset):
    return [value if value.dtype.is_floating else value + tf.cast(offset, value.dtype) for value in state]


def model_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """Returns a net's variables by the names that they have in a checkpoint."""
    # By their position: Keras numbers seed generators as it pleases.
    return {f"model/{index}/{variable.name}": variable.value for index, variable in enumerate(model.variables)}


def _groups(variables):
    """The parts of the net (stem, each stage, head), and the positions of each one's variables."""
    groups = {}
    for index, variable in enumerate(variables):
        part = variable.path.split("/")[0].split("_")[0]
        groups.setdefault(part if part.startswith(("stem", "stage")) else "head", []).append(index)
    return list(groups), list(groups.values())

"""n alike residual units as one layer: their weights stacked, run as one loop whose graph does not grow with n."""

import math
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_preresnet.devices import has_accelerator
from keras_preresnet.initializers import draw_stacked_kernels
from keras_preresnet.loops import loop_over_rows
from keras_preresnet.units import ResidualUnit, UnitParts
from keras_preresnet.validation import require_images, require_positive_integer

FEW_UNITS = 4  # A loop of so few units costs about 5 % of a training step and saves no time in building its graph.


class UnitTemplate:
    """One residual unit as a function of its weights.

    Being no Keras object, it hides the unit from the stack that holds it: Keras would otherwise count, save and train
    the unit's own variables, which are never used, beside the stacked ones.
    """

    def __init__(self, unit: ResidualUnit):
        # A copy, so that one unit may serve several stacks. Whether the weights are trained is the stack's to say: a
        # frozen template would call its kernels statistics.
        self.unit = ResidualUnit.from_config({**unit.get_config(), "trainable": True})
        self._taken_apart = _TakenApart(self.unit)

    def build(self, input_shape: tuple) -> None:
        """Builds the unit, and notes its weights by name, its statistics, and its random states."""
        self.unit.build(input_shape)
        self.weights = {v.path.removeprefix(f"{self.unit.path}/").replace("/", "_"): v for v in self.unit.weights}
        self.statistics = [name for name, v in self.weights.items() if not v.trainable]
        known = {id(v) for v in self.unit.weights}
        self.seeds = [v for v in self.unit.variables if id(v) not in known]

    def __call__(self, x: tf.Tensor, weights: list, seed: tf.Tensor | None, training: bool) -> tuple[tf.Tensor, list]:
        """Returns the unit's output for these weights, and its new batch-norm statistics."""
        with self._holding(weights, seed) as scope:
            y = self.unit(x, training=training)
        return y, [scope.get_current_value(self.weights[name]) for name in self.statistics]

    def parts(self, x: tf.Tensor, weights: list, seed: tf.Tensor | None, training: bool) -> UnitParts:
        """Returns the two sides of the unit's addition, and what comes of them, for these weights."""
        with self._holding(weights, seed):
            return UnitParts(*self._taken_apart(x, training=training))

    def _holding(self, weights, seed):
        """A scope in which the unit has these weights, and draws from this seed; whatever it assigns is forgotten."""
        seeds = [] if seed is None else [(state, seed) for state in self.seeds]
        return keras.StatelessScope([*zip(self.weights.values(), weights, strict=True), *seeds])


class _TakenApart(keras.layers.Layer):
    """A unit that gives its parts. It is a layer, so that those of the unit are told whether they train."""

    def __init__(self, unit):
        super().__init__(name="taken_apart", dtype=unit.dtype_policy)
        self.unit = unit
        self.built = True  # The unit's owner builds it.

    def call(self, x, training=None):
        return tuple(self.unit.parts(x))


@keras.saving.register_keras_serializable(package="keras_preresnet")
class UnitStack(keras.layers.Layer):
    """`count` residual units like `unit`, one after another.

    Every weight of the units is held stacked: `stack.conv1_kernel` has the shape `(count, 3, 3, width, width)`.
    Their layout does not depend on `unroll` and `remat`, so that a file saved from one form loads into the others.

    Input and output: `(batch, height, width, unit.filters)`, of any batch size.

    XLA compiles a loop for a CPU into code many times slower than TensorFlow's own: without an accelerator the layer
    declares `supports_jit = False`, so that `Model.fit` does not choose XLA by itself.

    Args:
        unit: A `ResidualUnit` of stride 1, not yet built. A copy of it is the template, which lends its code and its
            dtype policy; the stack is frozen if the unit is.
        count: How many units, at least 1.
        unroll: Whether the units are laid out in the graph one by one (True, for export) or run as a loop (False).
            Default: only as few units as cost more in a loop than in a graph are laid out. In eager mode, which has
            no graph that could grow, the units always run one by one.
        remat: Whether units are computed a second time in the backward pass instead of being kept in memory: those of
            a loop in groups of about √count, so that memory grows with √count; laid out units one by one.

    Raises:
        ValueError: if `unit` is no unbuilt `ResidualUnit`, or strides or widens, or has another dtype than is given.
    """

    def __init__(self, unit: ResidualUnit, count: int, unroll: bool | None = None, remat: bool = False, **kwargs):
        if not isinstance(unit, ResidualUnit) or unit.built:
            raise ValueError(f"unit={unit!r} is refused: a keras_preresnet.ResidualUnit not yet built is needed.")
        require_positive_integer("count", count)
        policy = keras.dtype_policies.get(kwargs.pop("dtype", unit.dtype_policy))
        if policy.name != unit.dtype_policy.name:
            raise ValueError(
                f"dtype={policy.name!r} is refused: a stack has that of its unit, {unit.dtype_policy.name}."
            )
        super().__init__(**{"trainable": unit.trainable, **kwargs, "dtype": policy})
        self._template = UnitTemplate(unit)
        self.count = int(count)
        self.unroll = unroll
        self.remat = bool(remat)
        self.supports_jit = has_accelerator()
        self.seed_generator = None
        if unit.shortcut == "dropout":
            self.seed_generator = keras.random.SeedGenerator(unit.shortcut_options.get("seed"))

    @property
    def template(self) -> ResidualUnit:
        """The unit that lends its code. Its own weights are never used: the stack's are."""
        return self._template.unit

    def units(self) -> Iterator[ResidualUnit]:
        """Yields the template with the weights of each unit in turn: to be read before the next is asked for."""
        for row in range(self.count):
            for name, variable in self._template.weights.items():
                variable.assign(getattr(self, name)[row])
            yield self.template

    def build(self, input_shape):
        """Adds for each weight of the template one of `count` rows."""
        require_images(self.name, input_shape)
        unit = self.template
        if unit.strides != 1 or input_shape[-1] != unit.filters:
            raise ValueError(
                f"{self.name} cannot stack units of stride {unit.strides} and width {unit.filters} on an input of "
                f"width {input_shape[-1]}: alike units have stride 1 and the width of their input."
            )
        self._template.build(input_shape)
        for name, variable in self._template.weights.items():
            weight = self.add_weight(
                name=name,
                shape=(self.count, *variable.shape),
                initializer=self._initializer(variable),
                dtype=variable.dtype,
                trainable=variable.trainable,
                autocast=False,  # The template casts what it reads.
            )
            setattr(self, name, weight)  # A direct attribute: tf.train.Checkpoint sees into no list.

    def _initializer(self, variable):
        """Kernels are drawn with the fan of one unit; everything else starts alike in every unit."""

        def draw(shape, dtype=None):
            if variable.name != "kernel":
                return tf.repeat(tf.convert_to_tensor(variable)[None], shape[0], axis=0)
            return draw_stacked_kernels(shape, dtype)

        return draw

    def call(self, inputs, training=None):
        """Returns what the last unit gives; in training the statistics of all units move."""
        self.template.trainable = self.trainable  # Keras does not see the template, so it hands nothing on.
        weights = [tf.convert_to_tensor(getattr(self, name)) for name in self._template.weights]
        unrolled = self.count <= FEW_UNITS if self.unroll is None else self.unroll
        run = self._run_unrolled if unrolled or tf.executing_eagerly() else self._run_loop
        seeds = self._seeds() if training else None  # At inference nothing is drawn, and the state stays.
        outputs, statistics = run(inputs, weights, seeds, bool(training))
        if training and self.trainable:
            for name, value in zip(self._template.statistics, statistics, strict=True):
                getattr(self, name).assign(value)
        return outputs

    def _seeds(self):
        """One draw of the stack's random state makes a seed for each unit."""
        if self.seed_generator is None:
            return None
        seed = tf.cast(self.seed_generator.next(), tf.int64)
        return tf.random.stateless_uniform([self.count, 2], seed, minval=None, maxval=None, dtype=tf.int64)

    def _step(self, x, weights, seed, training):
        """One unit. The seed is no argument of the rematerialised function, which takes gradients of them all."""

        def step(x, *weights):
            return self._template(x, weights, seed, training)

        return (keras.remat(step) if self.remat and training else step)(x, *weights)

    def _run_unrolled(self, x, weights, seeds, training):
        rows = zip(*(tf.unstack(w) for w in weights), strict=True)
        seeds = [None] * self.count if seeds is None else tf.unstack(seeds)
        statistics = []
        for row, seed in zip(rows, seeds, strict=True):
            x, new = self._step(x, row, seed, training)
            statistics.append(new)
        return x, [tf.stack(column) for column in zip(*statistics, strict=True)]

    def _run_loop(self, x, weights, seeds, training):
        """The same as a while loop, or as one over groups of units."""
        run = self._run_groups if self.remat and training else self._loop_over_units
        return run(x, weights, seeds, training)

    def _loop_over_units(self, x, weights, seeds, training):
        """The units of these rows of the weights."""

        def step(x, row, seed):
            return self._template(x, row, seed, training)

        return loop_over_rows(step, x, weights, seeds, self._moved_by(weights, training))

    def _run_groups(self, x, weights, seeds, training):
        """Loops over groups of about √n units, each a loop that is run a second time in the backward pass.

        So the inputs of √n groups are kept, and while the gradient of a group is taken the activations of its √n
        units; units that are run again one by one would keep n inputs, for the same second forward pass.
        """

        def run_group(x, rows, seeds):
            """The seeds are no arguments of the rematerialised function, which takes gradients of them all."""
            return keras.remat(lambda x, *rows: self._loop_over_units(x, rows, seeds, training))(x, *rows)

        size = math.isqrt(self.count)
        rest = self.count % size

        def split(stacked):
            """The rows that fill no group, and the others by group."""
            return stacked[:rest], tf.reshape(stacked[rest:], [self.count // size, size, *stacked.shape[1:]])

        first, groups = zip(*map(split, weights), strict=True)
        first_seeds, seeds = (None, None) if seeds is None else split(seeds)
        before = []
        if rest:
            x, before = run_group(x, first, first_seeds)
        x, new = loop_over_rows(run_group, x, groups, seeds, self._moved_by(groups, training))
        new = [tf.reshape(s, [-1, *s.shape[2:]]) for s in new]
        return x, [tf.concat(parts, axis=0) for parts in zip(before, new, strict=True)] if rest else new

    def _moved_by(self, weights, training):
        """Those of the weights that a step moves: in training the statistics, unless they are frozen."""
        names = list(self._template.weights)
        moved = self._template.statistics if training and self.trainable else []
        return [weights[names.index(name)] for name in moved]

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        """Returns the settings, those of the template among them."""
        unit = keras.saving.serialize_keras_object(self._template.unit)
        unit.pop("build_config", None)  # A new stack builds its template itself.
        unit["config"]["trainable"] = True  # The stack's own config says whether it is frozen.
        return {
            **super().get_config(),
            "unit": unit,
            "count": self.count,
            "unroll": self.unroll,
            "remat": self.remat,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "unit": keras.saving.deserialize_keras_object(config["unit"])})

"""What is compared: nets under the names that each package has for them, packages, and their settings."""

from typing import NamedTuple


class Net(NamedTuple):
    """A net, and how large the batches are that train it."""

    model: str
    family: str
    depth: int
    branch: str
    batch_size: int
    image_size: int
    classes: int
    pytorchcv: str  # Its name there; "b": the bottleneck that strides in its 3x3 convolution.


NETS = {
    net.model: net
    for net in (
        Net("PreResNet20", "cifar", 20, "basic", 128, 32, 10, "preresnet20_cifar10"),
        Net("PreResNet56", "cifar", 56, "basic", 128, 32, 10, "preresnet56_cifar10"),
        Net("PreResNet110", "cifar", 110, "basic", 128, 32, 10, "preresnet110_cifar10"),
        Net("PreResNet164", "cifar", 164, "bottleneck", 64, 32, 10, "preresnet164bn_cifar10"),
        Net("PreResNet1001", "cifar", 1001, "bottleneck", 64, 32, 10, "preresnet1001_cifar10"),
        Net("PreResNet18", "imagenet", 18, "basic", 32, 224, 1000, "preresnet18"),
        Net("PreResNet50", "imagenet", 50, "bottleneck", 16, 224, 1000, "preresnet50b"),
        Net("PreResNet200", "imagenet", 200, "bottleneck", 4, 224, 1000, "preresnet200b"),
    )
}

OURS = "keras_preresnet"
STOCK = "stock Keras layers"
APPLICATIONS = "keras.applications"
PYTORCH = "PyTorch"
# The module whose `prepare` makes a package's step.
MODULES = {
    OURS: "benchmarks.with_tensorflow",
    STOCK: "benchmarks.with_tensorflow",
    APPLICATIONS: "benchmarks.with_tensorflow",
    PYTORCH: "benchmarks.with_torch",
}

TRAINING, INFERENCE, LATENCY = "training", "inference", "latency"
TASKS = {
    TRAINING: "images/s",
    INFERENCE: "images/s",
    LATENCY: "ms",  # Of one image.
}
INFERENCE_BATCH_SIZE = 128

# The machine's peak is that of the fastest size: the side of a square matrix; (batch, height and width, channels).
PEAKS = {
    "matrix product": (2048, 4096),
    "3x3 convolution": ((128, 32, 64), (128, 16, 128), (64, 16, 256)),
}
MACHINE = "the machine"
PEAK = "peak"

# Of training on a CPU: each core computes its share of the batch, with batch norm over that share.
REPLICAS = "a replica per core"
PROCESSES = "a process per core"
COMPILED = "torch.compile"
COMPILED_PROCESSES = f"{PROCESSES}, {COMPILED}"


class Contestant(NamedTuple):
    """A package in a setting."""

    package: str
    precision: str  # "float32" or "bfloat16"; weights are float32 in training.
    setting: str = ""
    tasks: tuple[str, ...] = tuple(TASKS)

    @property
    def name(self) -> str:
        """How tables call it."""
        return ", ".join(part for part in self if part and isinstance(part, str))

    def lacks(self, net: Net, task: str) -> str | None:
        """Returns why it is not measured, or None."""
        if self.package == APPLICATIONS and net.model != "PreResNet50":
            return "has no such net"
        if net.depth == 1001 and self.setting == "XLA":
            return "left out: without XLA already its first step takes minutes"
        large = net.depth == 1001 and task == TRAINING and net.batch_size > 16
        if large and (self.package == STOCK or self.precision == "float32"):
            return "left out: takes too much memory to stand beside others"
        return None


CONTESTANTS = (
    Contestant(OURS, "bfloat16"),
    Contestant(OURS, "bfloat16", REPLICAS, (TRAINING,)),
    Contestant(OURS, "bfloat16", "remat", (TRAINING,)),
    Contestant(OURS, "bfloat16", "folded", (INFERENCE, LATENCY)),
    Contestant(OURS, "float32"),
    Contestant(OURS, "float32", "folded", (INFERENCE, LATENCY)),
    Contestant(PYTORCH, "bfloat16"),
    Contestant(PYTORCH, "float32"),
    Contestant(PYTORCH, "bfloat16", PROCESSES, (TRAINING,)),
    Contestant(PYTORCH, "bfloat16", COMPILED),
    Contestant(PYTORCH, "bfloat16", COMPILED_PROCESSES, (TRAINING,)),
    Contestant(STOCK, "float32"),
    Contestant(STOCK, "bfloat16"),
    Contestant(STOCK, "float32", "XLA"),
    Contestant(STOCK, "bfloat16", "XLA"),
    Contestant(APPLICATIONS, "float32"),
    Contestant(APPLICATIONS, "bfloat16"),
)

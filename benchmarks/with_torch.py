"""Steps of PyTorch with the nets of pytorchcv, in its fastest setting: channels last, bfloat16, a fused optimizer."""

import atexit
import contextlib
import importlib.metadata
import shutil
import tempfile
import time

import torch
from pytorchcv.models import preresnet, preresnet_cifar

from benchmarks.contestants import COMPILED, COMPILED_PROCESSES, NETS, PROCESSES, TRAINING
from benchmarks.worker import Job, Prepared, share_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The settings with a process per core, and what each of the processes is then set to.
OF_EACH_PROCESS = {PROCESSES: "", COMPILED_PROCESSES: COMPILED}


def prepare(job: Job) -> Prepared:
    """Builds the net; `torch.compile` compiles it in its first step."""
    if job.setting in OF_EACH_PROCESS:
        return _prepare_in_processes(job._replace(setting=OF_EACH_PROCESS[job.setting]))
    began = time.perf_counter()
    net = NETS[job.net]
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    module = {"cifar": preresnet_cifar, "imagenet": preresnet}[net.family]
    model = getattr(module, net.pytorchcv)().to(DEVICE, memory_format=torch.channels_last)
    images = torch.randn(job.batch_size, 3, net.image_size, net.image_size, device=DEVICE)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, net.classes, (job.batch_size,), device=DEVICE)
    compiled = job.setting == COMPILED
    if job.task == TRAINING:
        step = training_step(model, job.precision, images, labels, compiled)
    else:
        step = inference_step(model, job.precision, images, compiled)
    return Prepared(step, {"construction": time.perf_counter() - began}, _facts)


def _prepare_in_processes(job):
    """A process for each thread that one would have; every one trains on its share and adds up the gradients."""
    count = torch.get_num_threads()
    share = job._replace(batch_size=share_of(job.batch_size, count, DEVICE != "cpu"))
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    meeting = f"{folder}/meeting"
    context = torch.multiprocessing.get_context("spawn")
    others = [context.Process(target=_step_for_ever, args=(share, rank, count, meeting)) for rank in range(1, count)]
    for process in others:
        process.daemon = True  # It goes with this process; if that is killed, by the error of a lost connection.
        process.start()
    return _prepare_one_of(share, 0, count, meeting)._replace(others=others)


def _prepare_one_of(job, rank, count, meeting):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    return prepare(job)


def _step_for_ever(*arguments):
    """Each step waits for those of the other processes."""
    step = _prepare_one_of(*arguments).step
    while True:
        step()


def _facts():
    versions = {package: importlib.metadata.version(package) for package in ("torch", "pytorchcv")}
    return {**versions, "device": DEVICE, "threads": torch.get_num_threads()}


def training_step(model, precision, images, labels, compiled):
    """Forward pass and gradients under autocast, momentum SGD with decay in one fused update."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, nesterov=True, weight_decay=1e-4, fused=True)
    if torch.distributed.is_initialized():
        model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    run = torch.compile(model) if compiled else model
    half = precision == "bfloat16"

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16) if half else contextlib.nullcontext():
            loss = torch.nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def inference_step(model, precision, images, compiled):
    """Weights in bfloat16 themselves: nothing is left to be cast."""
    model.eval()
    if precision == "bfloat16":
        model, images = model.to(torch.bfloat16), images.to(torch.bfloat16)
    run = torch.compile(model) if compiled else model

    def step():
        with torch.inference_mode():
            return run(images).float().cpu().numpy()

    return step

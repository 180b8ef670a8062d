"""What a run says of its machine, and what it makes of it."""

import pytest
import tensorflow as tf

from keras_preresnet.devices import has_accelerator
from training.devices import steps_per_call, uses_xla
from training.environment import describe_environment


@pytest.mark.parametrize("hidden", [True, False])
def test_a_gpu_that_the_user_has_hidden_is_none(monkeypatch, hidden):
    def those(devices):
        return lambda kind=None: [device for device in devices if kind in (None, device.device_type)]

    cpu, gpu = (tf.config.PhysicalDevice(f"/physical_device:{kind}:0", kind) for kind in ("CPU", "GPU"))
    monkeypatch.setattr(tf.config, "list_physical_devices", those([cpu, gpu]))
    monkeypatch.setattr(tf.config, "get_visible_devices", those([cpu] if hidden else [cpu, gpu]))
    assert has_accelerator() == uses_xla("auto") == (not hidden)
    assert steps_per_call(None) == (1 if hidden else 10)
    assert describe_environment()["accelerators"] == ([] if hidden else ["GPU"])

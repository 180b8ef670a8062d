"""Where the time of a step goes: what is counted for what, and a small step really watched."""

import pytest
import tensorflow as tf

from benchmarks import profiling


@pytest.mark.parametrize(
    ("event", "group"),
    [
        ("while/body/_1/stage1_units_1/conv1/convolution:_MklNativeConv2D", "convolution"),
        ("gradient_tape/stage1_unit1/conv2/Conv2DBackpropFilter:Conv2DBackpropFilter", "convolution"),
        ("gradient_tape/stage1_units/MatMul_3:_MklMatMul", "convolution"),
        ("gradient_tape/stage1_units/norm1/sums_2:MatMul", "batch norm + ReLU"),
        ("stage1_units_1/norm1/FusedBatchNormV3:_MklNativeFusedBatchNormEx", "batch norm + ReLU"),
        ("gradient_tape/head/ReluGrad:ReluGrad", "batch norm + ReLU"),
        ("CpuExecutable::ExecuteAsyncOnStream", "batch norm + ReLU"),
        ("stage1_units_1/add:AddV2", "additions"),
        ("gradient_tape/AddN_1:AddN", "additions"),
        ("while/ResourceApplyMomentum_7:ResourceApplyMomentum", "optimizer"),
        ("while/IteratorGetNext:IteratorGetNext", "input"),
        ("stage1_units_1/TensorListPopBack:TensorListPopBack", "loop and copies"),
        ("EagerLocalExecute: __inference___call___12246", None),
        ("ExecutorState::Process", None),
        ("__call__", None),
    ],
)
def test_what_an_event_is_counted_for(event, group):
    assert profiling.group_of(event) == group


def test_times_are_added_up_by_step():
    events = [("a/conv:Conv2D", 3.0), ("b/conv:Conv2D", 1.0), ("x:AddV2", 4.0), ("ExecutorState::Process", 100.0)]
    table = profiling.table_of(iter(events), steps=2)
    assert list(table.index) == list(profiling.GROUPS)
    assert table.loc["convolution"].tolist() == [2.0, 0.5, 1.0]
    assert table.loc["additions"].tolist() == [2.0, 0.5, 0.5]
    assert table.loc["optimizer"].tolist() == [0.0, 0.0, 0.0]


def test_a_step_is_watched():
    x, kernel = tf.ones([1, 8, 8, 4]), tf.ones([3, 3, 4, 4])

    @tf.function
    def step():
        return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))

    step()
    table = profiling.table_of(profiling.operations(profiling.profiled(step, 3)), 3)
    assert table.loc["convolution", "operations"] == 1
    assert table.loc["convolution", "busy ms"] > 0

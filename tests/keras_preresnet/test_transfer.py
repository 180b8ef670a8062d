"""Another classifier, frozen stages, the features of each stage."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from library_helpers import DESIGN_NAMES, assert_close, assert_one_line, numpy, randomize
from transfer_helpers import IMAGES, LABELS, cross_entropy, tiny

from keras_preresnet import ResidualNetwork, embeddings, features, freeze, reset_classifier, unfreeze

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
TOPS = ({}, {"include_top": False}, {"include_top": False, "pooling": "avg"})
FORMS = {"looped": {"unroll": False}, "unrolled": {"unroll": True}, "rematerialised": {"unroll": False, "remat": True}}


def compiled(model, **arguments):
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), cross_entropy(), **arguments)
    return model


def fit(model, epochs=1):
    model.fit(IMAGES, LABELS, batch_size=4, epochs=epochs, verbose=0)


def changed(model, before):
    """The layers of which a weight or a statistic is no longer the same to the bit."""
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    return {variable.path.split("/")[0] for variable, old, new in pairs if old.tobytes() != new.tobytes()}


BODY = ("stem_conv", "stem_norm", "stage1_unit1", "stage1_units", "stage2_unit1", "stage2_units", "head_activation")


@pytest.mark.parametrize(
    ("until", "frozen", "policy"),
    [
        ("stem", 2, "float32"),
        ("stage1", 4, "mixed_bfloat16"),
        pytest.param("stage2", 6, "float32", marks=pytest.mark.slow),
        pytest.param("head", 7, "float32", marks=pytest.mark.slow),
        (None, 7, "mixed_bfloat16"),
    ],
    ids=str,
)
def test_frozen_means_frozen_bit_by_bit(until, frozen, policy):
    """And everything else is trained, statistics included."""
    model = randomize(tiny(dtype=policy, unroll=False))
    freeze(model, until)
    before = model.get_weights()
    fit(compiled(model), epochs=2)
    assert changed(model, before) == {*BODY[frozen:], "predictions"}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_weight_of_a_freed_stage_is_trained(form):
    model = randomize(tiny(**form))
    freeze(model)
    unfreeze(model, "stage2")
    before = model.get_weights()
    fit(compiled(model))
    assert changed(model, before) == {*BODY[4:], "predictions"}


def test_a_compiled_model_says_so_and_is_not_trained_until_it_is_compiled_again():
    """Keras alone would go on training the frozen layers."""
    model = compiled(randomize(tiny()))
    fit(model)
    with pytest.warns(UserWarning, match=r"call model\.compile") as caught:
        freeze(model, "stage1")
    (ours,) = [warning for warning in caught if warning.category is UserWarning]
    assert ours.filename == __file__
    before = model.get_weights()
    for use in (fit, lambda model: model.train_on_batch(IMAGES, LABELS), lambda model: model.evaluate(IMAGES, LABELS)):
        with pytest.raises(ValueError, match=r"compile\(\)"):
            use(model)
    assert changed(model, before) == set()
    fit(compiled(model))
    assert changed(model, before) == {*BODY[4:], "predictions"}
    with pytest.warns(UserWarning, match="were freed"):
        unfreeze(model)
    before = model.get_weights()
    fit(compiled(model))
    assert changed(model, before) == {*BODY, "predictions"}


@pytest.mark.parametrize("change", [lambda model: freeze(model, "stage1"), lambda model: unfreeze(model, "stage2")])
def test_a_compiled_model_of_which_nothing_changes_stays_compiled(change):
    model = tiny()
    freeze(model, "stage1")
    compiled(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        change(model)
    assert model.compiled


def trained_parts(model):
    return [layer.name for layer in model.layers if layer.trainable_weights]


def test_freezing_adds_and_freeing_takes_away():
    model = tiny()
    freeze(model, "stage1")
    freeze(model, "stem")
    assert trained_parts(model) == [*BODY[4:], "predictions"]
    unfreeze(model, "stage1")
    assert trained_parts(model) == [*BODY[2:], "predictions"]
    freeze(model)
    assert trained_parts(model) == ["predictions"]
    unfreeze(model)
    assert trained_parts(model) == [*BODY, "predictions"]


def test_a_model_that_keras_has_frozen_as_a_whole_is_freed_from_a_stage_on():
    model = tiny()
    model.trainable = False
    unfreeze(model, "stage2")
    assert trained_parts(model) == [*BODY[4:], "predictions"]


def test_a_head_of_ones_own_is_not_frozen():
    net = tiny(include_top=False, pooling="avg")
    model = keras.Model(net.input, keras.layers.Dense(3, name="own")(net.output))
    freeze(model)
    assert trained_parts(model) == ["own"]


@pytest.mark.parametrize("call", [freeze, unfreeze])
def test_a_stage_that_there_is_not_is_refused(call):
    with pytest.raises(ValueError, match="'stage3' is unknown") as error:
        call(tiny(), "stage3")
    assert_one_line(error, "stem, stage1, stage2, head")


@pytest.mark.parametrize("call", [freeze, unfreeze, features, embeddings, lambda model: reset_classifier(model, 2)])
def test_another_model_is_refused(call):
    outer = keras.Sequential([keras.Input((8, 8, 3)), tiny(), keras.layers.Dense(2)], name="outer")
    with pytest.raises(ValueError, match="no stem and stages") as error:
        call(outer)
    assert_one_line(error, "outer", "give the one inside")


@pytest.mark.parametrize("top", TOPS, ids=str)
@pytest.mark.parametrize("policy", POLICIES[:2])
def test_a_new_classifier_on_a_copy_of_the_body(top, policy):
    model = randomize(tiny(dtype=policy, **top))
    before = model.get_weights()
    net = reset_classifier(model, 5)
    assert net.output_shape == (None, 5)
    assert (net.name, net.output.dtype) == (model.name, "float32")
    body = [w.numpy() for w in model.weights if not w.path.startswith("predictions")]
    assert len(net.weights) == len(body) + 2
    assert changed(net, [*body, *net.get_weights()[-2:]]) == set()
    assert 0 < np.abs(net.get_layer("predictions").kernel).max() <= 1 / np.sqrt(8)
    randomize(net, seed=9)
    assert changed(model, before) == set()


def test_two_new_classifiers_differ_and_may_be_a_softmax():
    model = tiny()
    one, two = (reset_classifier(model, 3, "softmax") for _ in range(2))
    assert np.any(one.get_layer("predictions").kernel.numpy() != two.get_layer("predictions").kernel.numpy())
    assert_close(keras.ops.sum(one(IMAGES), axis=-1), np.ones(8))


@pytest.mark.parametrize(("arguments", "word"), [((0,), "classes=0"), ((2, None, "abc"), "3 class names")])
def test_a_classifier_that_cannot_be_is_refused(packaged, arguments, word):
    with pytest.raises(ValueError, match=word) as error:
        reset_classifier(tiny(weights="pets"), *arguments)
    assert_one_line(error)


def test_what_is_frozen_stays_so_in_what_is_made_of_it():
    model = tiny()
    freeze(model, "stage1")
    assert trained_parts(reset_classifier(model, 2)) == [*BODY[4:], "predictions"]
    assert trained_parts(embeddings(model)) == [*BODY[4:]]
    freeze(model)
    assert trained_parts(features(model)) == []


@pytest.mark.parametrize(
    ("policy", "top"), [*((policy, {}) for policy in POLICIES), *(("mixed_bfloat16", top) for top in TOPS[1:])], ids=str
)
def test_embeddings_are_what_the_classifier_reads(policy, top):
    whole = randomize(tiny(dtype=policy))
    model = tiny(dtype=policy, **top)
    model.set_weights(whole.get_weights()[: len(model.weights)])
    made = embeddings(model)(IMAGES, training=False)
    assert (tuple(made.shape), made.dtype) == ((8, 8), "float32")
    kernel, bias = map(numpy, whole.get_layer("predictions").weights)
    assert_close(numpy(made) @ kernel + bias, whole(IMAGES, training=False), 1e-5)


def test_embeddings_of_a_net_that_takes_the_maximum():
    model = randomize(tiny(include_top=False, pooling="max"))
    assert_close(embeddings(model)(IMAGES), model(IMAGES), 0)


def by_hand(model, stage):
    """x_L, and x_L as the next unit activates it, through the layers of the net itself."""
    x = keras.ops.convert_to_tensor(IMAGES)
    for layer in model.layers[1:]:
        x = layer(x, training=False) if layer.name.startswith(("stage", "stem_norm")) else layer(x)
        if layer.name == f"{stage}_units":
            break
    following = model.layers[model.layers.index(layer) + 1]
    if hasattr(following, "preactivation"):
        return x, following.preactivation(x)
    return x, following(x) if following.name == "head_activation" else x


@pytest.mark.parametrize("policy", POLICIES[:2])
@pytest.mark.parametrize("design", DESIGN_NAMES)
def test_features_are_those_that_the_net_computes(design, policy):
    model = randomize(tiny(design=design, dtype=policy, unroll=True))
    made = features(model)(IMAGES, training=False)
    assert list(made) == ["stage1", "stage1_raw", "stage2", "stage2_raw"]
    for stage in ("stage1", "stage2"):
        raw, activated = by_hand(model, stage)
        assert made[stage].dtype == made[f"{stage}_raw"].dtype == raw.dtype
        assert_close(made[f"{stage}_raw"], raw, 1e-6)
        assert_close(made[stage], activated, 1e-6)
    assert_close(keras.ops.mean(made["stage2"], (1, 2)), embeddings(model)(IMAGES), 1e-2)
    raw_is_activated = "preactivation" not in design
    assert bool(keras.ops.all(made["stage1"] == made["stage1_raw"])) is raw_is_activated


def test_features_of_a_single_unit_and_of_one_stage_only():
    model = ResidualNetwork(units=(1, 1), widths=(4, 8), stem_width=4, input_shape=(8, 8, 3))
    net = features(randomize(model), ["stage1"])
    assert [layer.name for layer in net.layers] == [
        "images",
        "stem_conv",
        "stem_norm",
        "stage1_unit1",
        "stage1_activation",
    ]
    assert list(net(IMAGES)) == ["stage1", "stage1_raw"]


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooled_features(pooling):
    model = randomize(tiny(dtype="mixed_bfloat16"))
    made, pooled = features(model)(IMAGES), features(model, pooling=pooling)(IMAGES)
    pool = {"avg": np.mean, "max": np.max}[pooling]
    for name, feature in made.items():
        assert (tuple(pooled[name].shape), pooled[name].dtype) == ((8, feature.shape[-1]), "float32")
        assert_close(pooled[name], pool(numpy(feature), axis=(1, 2)), 1e-6)


@pytest.mark.parametrize("names", [["stage3"], [], ["predictions"]])
def test_a_feature_that_there_is_not_is_refused(names):
    with pytest.raises(ValueError, match="stage1, stage2") as error:
        features(tiny(), names)
    assert_one_line(error)


def test_features_are_trained_like_any_net():
    net = features(randomize(tiny(unroll=False)), ["stage1", "stage2"], "avg")
    outputs = keras.layers.Dense(3)(keras.layers.concatenate([net.output["stage1"], net.output["stage2"]]))
    model = compiled(keras.Model(net.input, outputs))
    before = model.get_weights()
    fit(model)
    assert {"stage1_activation", "stage2_activation", "stage1_units"} <= changed(model, before)


READ = """
import sys, keras, numpy as np, keras_preresnet
x = np.load(sys.argv[1] + "/x.npy")
for name in ("classifier", "features", "embeddings"):
    model = keras.saving.load_model(f"{sys.argv[1]}/{name}.keras")
    stored = np.load(f"{sys.argv[1]}/{name}.npz")
    made = model(x, training=False)
    for key, value in (made.items() if isinstance(made, dict) else [("output", made)]):
        np.testing.assert_array_equal(keras.ops.cast(value, "float32"), stored[key])
    print(name, len(stored.files), *(layer.name for layer in model.layers if layer.trainable_weights))
"""


def test_a_fresh_process_reads_what_was_saved(tmp_path):
    model = randomize(tiny(dtype="mixed_bfloat16", unroll=False))
    freeze(model)
    np.save(tmp_path / "x.npy", IMAGES)
    for name, net in {
        "classifier": reset_classifier(model, 2),
        "features": features(model),
        "embeddings": embeddings(model),
    }.items():
        made = net(IMAGES, training=False)
        made = made if isinstance(made, dict) else {"output": made}
        np.savez(tmp_path / f"{name}.npz", **{key: keras.ops.cast(value, "float32") for key, value in made.items()})
        net.save(tmp_path / f"{name}.keras")
    process = subprocess.run([sys.executable, "-c", READ, tmp_path], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.splitlines() == ["classifier 1 predictions", "features 4", "embeddings 1"]

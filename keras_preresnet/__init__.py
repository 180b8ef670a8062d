"""Identity Mappings in Deep Residual Networks (He et al., ECCV 2016) in Keras 3 on TensorFlow.

Sources that docstrings name: [LUA] is the authors' `resnet-pre-act.lua` (github.com/KaimingHe/resnet-1k-layers); [FB]
is github.com/facebook/fb.resnet.torch, with `models/resnet.lua` and `models/preresnet.lua`.
"""

# ruff: noqa: E402 - the backend is looked at before Keras is imported.
from keras_preresnet._backend import require_tensorflow

require_tensorflow()

from keras_preresnet.activations import DESIGNS, FusedBatchNormalization
from keras_preresnet.layerwise import with_learning_rate_multipliers
from keras_preresnet.metadata import (
    ImageInput,
    decode_predictions,
    model_class_names,
    model_preprocessing,
    set_preprocessing,
)
from keras_preresnet.networks import ResidualNetwork
from keras_preresnet.preprocessing import Preprocessing, preprocess_input
from keras_preresnet.register import PackagedWeights, weights_info
from keras_preresnet.shortcuts import SHORTCUTS, WIDENINGS
from keras_preresnet.stacks import UnitStack
from keras_preresnet.synchronization import synchronize_batch_normalization
from keras_preresnet.transfer import embeddings, features, freeze, reset_classifier, unfreeze
from keras_preresnet.units import BRANCHES, ResidualUnit
from keras_preresnet.weights import load_weights
from keras_preresnet.zoo import (
    PreResNet18,
    PreResNet20,
    PreResNet32,
    PreResNet34,
    PreResNet44,
    PreResNet50,
    PreResNet56,
    PreResNet101,
    PreResNet110,
    PreResNet152,
    PreResNet164,
    PreResNet200,
    PreResNet1001,
    PreResNet1202,
    ResNet18,
    ResNet20,
    ResNet32,
    ResNet34,
    ResNet44,
    ResNet50,
    ResNet56,
    ResNet101,
    ResNet110,
    ResNet152,
    ResNet164,
    ResNet200,
    ResNet1001,
    ResNet1202,
    create_model,
    list_models,
)

__version__ = "0.1.2"

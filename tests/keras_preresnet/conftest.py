"""A register of its own for the tests of packaged weights."""

import hashlib

import pytest
from library_helpers import randomize
from transfer_helpers import row, tiny

from keras_preresnet import register


@pytest.fixture
def packaged(monkeypatch, tmp_path):
    """The packaged net; `weights="pets"` are its weights, and the only ones there are."""
    monkeypatch.setattr(register, "FOLDER", tmp_path / "packaged")
    monkeypatch.setattr(register, "REGISTER", {})
    model = randomize(tiny())
    entry = row(model)
    entry.file.parent.mkdir()
    model.save_weights(entry.file)
    entry = row(model, sha256=hashlib.sha256(entry.file.read_bytes()).hexdigest())
    register.REGISTER["Tiny", "pets"] = entry
    return model

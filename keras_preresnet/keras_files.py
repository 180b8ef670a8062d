"""Reading `.keras` files that others wrote: no code of theirs is run, and what is wrong is said in one line."""

import re
import zipfile
import zlib
from pathlib import Path

import keras


def load_keras_file(path: str | Path) -> keras.Model:
    """Returns the model of a `.keras` file, not compiled; layers other than Keras's and this package's are refused.

    So are Lambda layers, unless the process has called `keras.config.enable_unsafe_deserialization()`.

    Raises:
        ValueError: if there is no such file, it is damaged, or it holds code, such as a Lambda layer.
    """
    require_whole(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Whatever Keras may raise at a file that others wrote.
        raise ValueError(f"{str(path)!r} cannot be loaded: {reason(error)}") from error


def require_whole(path: str | Path) -> None:
    """Raises ValueError unless the file is a whole archive: Keras would call one that is cut off "not found"."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"its part {broken} is damaged")
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{str(path)!r} is missing, damaged or no .keras file: {_one_line(error)}") from error


def _one_line(error):
    return " ".join(str(error).split())


def reason(error: Exception) -> str:
    """Returns the sentence of Keras's pages that says why a file cannot be loaded."""
    text = _one_line(error)
    unknown = re.search(r"Could not locate (class|function) '[^']*'", text)
    if unknown:
        return f"{unknown[0]}; only layers of Keras and of keras_preresnet can be used."
    if "`Lambda` layer" in text:
        return "it holds Python code, a Lambda layer, which is never run; build the net of layers that need none."
    return f"{text.split('. ')[0][:200]} ({type(error).__name__})."

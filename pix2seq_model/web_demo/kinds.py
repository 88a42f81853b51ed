"""Which kinds of model the web page shows, see `api.find_model`. Needs no TensorFlow."""

from pix2seq_model.errors import ConfigError

SHOWN_KINDS = ("model folder", "SavedModel")
_REMEDIES = {
    "checkpoint": (
        "import it with pipelines/import_checkpoint.py, and give the model folder that it writes"
    ),
    "ONNX": "give the model folder that it was exported from; pipelines/predict.py runs both",
}


def require_shown_kind(kind: str, place: str) -> None:
    """
    Raises:
      ConfigError: the page does not show models of this kind; with what to do for one at `place`.
    """
    if kind not in SHOWN_KINDS:
        raise ConfigError(
            f"{place}: the page shows model folders, pushed versions and SavedModels, and this is "
            f"of the kind {kind}: {_REMEDIES[kind]}"
        )

"""What a stage starts from: its architecture and its vocabulary, before anything is trained."""

from pix2seq_model.errors import UserError
from pix2seq_model.model_folder.folder import read_model_info
from pix2seq_model.model_folder.pushed import find_model_folder, find_pushed_version
from pix2seq_model.network.config import ModelConfig
from pix2seq_model.published.locations import PUBLISHED_CHECKPOINTS, is_checkpoint
from pix2seq_model.store_access import check_reachable
from pix2seq_model.tokens.vocabulary import Vocabulary


def pushed_start(place: str) -> str:
    """The newest model in a folder that models are pushed to; empty for any other place.

    Places in a bucket are not looked at: a job is written without a network too.

    Raises:
      ModelError: the newest version is damaged, or is of an older kind whose origin is gone.
    """
    if not place or "://" in place or find_pushed_version(place) is None:
        return ""
    found = find_model_folder(place)
    return "" if found == place.rstrip("/") else found


def read_start(place: str, setting: str) -> tuple[ModelConfig, Vocabulary]:
    """The architecture, at the image size it was trained at, and the vocabulary of a start.

    The sixteen published places are known by name; of any other place a few small files are read.

    Args:
      place: model folder, or checkpoint in the published layout, local or gs://.
      setting: that names it, for messages.

    Raises:
      UserError: there is none, or it cannot be used; of the kind that its reader raises.
    """
    for (name, _, side), published in PUBLISHED_CHECKPOINTS.items():
        if place.rstrip("/") == published:
            return ModelConfig.published(name, (side, side)), Vocabulary()
    check_reachable(place, setting)
    try:
        if not is_checkpoint(place):
            info = read_model_info(place)
            return info.model, info.vocabulary
        # TensorFlow, which reads such checkpoints, takes seconds to import.
        from pix2seq_model.published.architecture import (
            describe_architecture,
            read_published_config,
        )
        from pix2seq_model.published.object_graph import ObjectGraphCheckpoint

        checkpoint = ObjectGraphCheckpoint(place)
        return describe_architecture(read_published_config(checkpoint.prefix), checkpoint)
    except UserError as error:
        raise type(error)(f"{setting}={place}: {error}") from None

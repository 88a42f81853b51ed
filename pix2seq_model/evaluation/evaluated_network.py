"""The network of an evaluation: for its detections, and for the pictures of its attention."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etils import epath

from pix2seq_model.model_folder.folder import ModelInfo, load_model_folder

if TYPE_CHECKING:
    from pix2seq_model.reports.attention_pictures import ObjectAttention


class LazyNetwork:
    """A model folder's network, loaded when it is first asked for.

    TensorFlow and Keras take seconds to import: what was finished before needs neither.
    """

    def __init__(
        self, model_dir: epath.PathLike, *, precision: str, decoding: Mapping[str, Any]
    ) -> None:
        """
        Args:
          model_dir: model folder.
          precision: of the network, "float32" or "bfloat16".
          decoding: arguments of `Detector` and `AttentionReader`, so that both compile the same.
        """
        self._model_dir, self._precision = model_dir, precision
        self.decoding = dict(decoding)

    @functools.cached_property
    def loaded(self) -> tuple[Any, ModelInfo]:
        """The Keras model, and what its folder says of it."""
        return load_model_folder(str(self._model_dir), precision=self._precision)

    def attention(
        self, encoded: bytes, boxes_xywh: Sequence[Sequence[float]], score_threshold: float
    ) -> "tuple[list[ObjectAttention], list[ObjectAttention]]":
        """Pictures of the first objects of some score, and of boxes that are given in pixels."""
        from pix2seq_model.input_pipeline.image_file import prepare_image
        from pix2seq_model.reports.attention_pictures import AttentionReader

        network, info = self.loaded
        reader = AttentionReader(network, names=info.category_names, **self.decoding)
        image = prepare_image(encoded, image_size=info.model.image_size)
        return reader.of_found(image, score_threshold=score_threshold), reader.of_given(
            image, boxes_xywh
        )

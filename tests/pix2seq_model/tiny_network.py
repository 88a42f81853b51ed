"""Networks that build in a second, for any test."""

import dataclasses

from pix2seq_model.network.config import ModelConfig
from pix2seq_model.network.pix2seq import Pix2Seq, build_model
from pix2seq_model.tokens.vocabulary import Vocabulary

VOCABULARY = Vocabulary(vocab_size=180, num_bins=50, coord_shift=120)
CONFIG = ModelConfig(
    image_size=(32, 48),
    patch_size=16,
    num_encoder_layers=2,
    dim_encoder=24,
    mlp_dim_encoder=48,
    num_heads_encoder=2,
    num_decoder_layers=2,
    dim_decoder=16,
    mlp_dim_decoder=48,
    num_heads_decoder=2,
    max_seq_len=32,
)


def network(seed: int = 0, **fields) -> Pix2Seq:
    """A tiny ViT network, or whatever `fields` of ModelConfig make of it."""
    model = build_model(dataclasses.replace(CONFIG, **fields), VOCABULARY, seed=seed)
    # Fresh networks predict nearly the same everywhere: larger embeddings tell tokens apart.
    model.decoder.token_embedding.assign(20 * model.decoder.token_embedding)
    return model

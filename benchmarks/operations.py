"""Floating-point operations of a training step, counted from the architecture.

A multiplication and an addition are two operations. Counted are the products of matrices and the
convolutions, forward; backward counts twice that. What is left out (normalisation, softmax,
activations, the optimizer) is a few percent, as is usual in figures of "model FLOP/s".
"""

from pix2seq_model.network.config import ModelConfig

_RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def training_step_operations(
    config: ModelConfig, *, vocab_size: int, batch_size: int, num_tokens: int
) -> float:
    """Operations of a forward and a backward pass of a batch."""
    forward = forward_operations(config, vocab_size=vocab_size, num_tokens=num_tokens)
    return 3 * batch_size * forward


def forward_operations(config: ModelConfig, *, vocab_size: int, num_tokens: int) -> float:
    """Operations of one image with `num_tokens` tokens, forward."""
    stride = config.output_stride
    rows, columns = (-(-side // stride) for side in config.image_size)
    positions = rows * columns
    if config.backbone == "vit":
        stem = 2 * positions * config.patch_size**2 * 3 * config.dim_encoder
    else:
        stem = _resnet(config, positions)
    positions += int(config.use_class_token)
    encoder_layer = _self_attention(positions, config.dim_encoder) + _mlp(
        positions, config.dim_encoder, config.mlp_dim_encoder
    )
    bridge = 2 * positions * config.dim_encoder * config.dim_decoder
    if config.bridge == "mlp":
        ratio = max(1, config.mlp_dim_encoder // config.dim_encoder)
        bridge += _mlp(positions, config.dim_decoder, config.dim_decoder * ratio)
    decoder_layer = (
        _self_attention(num_tokens, config.dim_decoder)
        + _cross_attention(num_tokens, positions, config.dim_decoder)
        + _mlp(num_tokens, config.dim_decoder, config.mlp_dim_decoder)
    )
    logits = 2 * num_tokens * config.dim_decoder * vocab_size
    return (
        stem
        + config.num_encoder_layers * encoder_layer
        + bridge
        + config.num_decoder_layers * decoder_layer
        + logits
    )


def _self_attention(length: int, dim: int) -> float:
    # Queries, keys, values and the output; then scores and their use. A causal mask halves nothing:
    # the products are computed in full.
    return 8 * length * dim**2 + 4 * length**2 * dim


def _cross_attention(length: int, memory: int, dim: int) -> float:
    return 4 * length * dim**2 + 4 * memory * dim**2 + 4 * length * memory * dim


def _mlp(length: int, dim: int, hidden: int) -> float:
    return 4 * length * dim * hidden


def _resnet(config: ModelConfig, positions: int) -> float:
    """Convolutions and the projection to the encoder's width."""
    rows, columns = (-(-side // 2) for side in config.image_size)
    width = config.resnet_width_multiplier
    channels = int(64 * width)
    operations = 2 * rows * columns * 49 * 3 * channels
    rows, columns = -(-rows // 2), -(-columns // 2)
    for group, num_blocks in enumerate(_RESNET_BLOCKS[config.resnet_depth]):
        if config.resnet_variant == "c4" and group == 3:
            break
        filters = int(64 * 2**group * width)
        for block in range(num_blocks):
            before = rows * columns
            strided = block == 0 and group > 0
            if strided and not (config.resnet_variant == "dc5" and group == 3):
                rows, columns = -(-rows // 2), -(-columns // 2)
            after = rows * columns
            operations += 2 * before * channels * filters  # 1x1
            operations += 2 * after * 9 * filters**2  # 3x3, with the stride
            operations += 2 * after * filters * 4 * filters  # 1x1
            if block == 0:
                operations += 2 * after * channels * 4 * filters  # shortcut
            channels = 4 * filters
    return operations + 2 * positions * channels * config.dim_encoder

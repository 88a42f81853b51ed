"""Pix2Seq: records, tokens, augmentation, network, training, decoding, metrics, export."""

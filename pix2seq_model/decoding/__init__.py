"""Tokens from a network: cached decoding, sampling, and detections of a batch."""

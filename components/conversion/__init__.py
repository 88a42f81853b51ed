"""Beam transforms from annotation files and images to TFRecords.

`convert.ConvertDataset` is the whole job. Its shuffle carries metadata only, packed into batches
(`batches`); the image bytes are read by the worker that writes the shard.
"""

"""Where a batch prediction's files are in its output folder.

detections/detections-00000-of-00012.jsonl        a line for each image that could be read
detections/detections-00000-of-00012.tfrecord     the same as records
unreadable/unreadable-00000-of-00012.jsonl        a line for each that could not; absent if none
predictions.json                                  counts, shards and their digests; written last
progress/                                         notes by which a rerun continues

What lines and records hold is in `pix2seq_model.prediction.detection_records`.
"""

KIND = "detections"
WORK = "progress/work.jsonl"
MANIFEST = "predictions.json"
OUR_FILES = ("detections/*", "unreadable/*", "progress/*")


def shard_file(kind: str, shard: int, num_shards: int, *, suffix: str = ".jsonl") -> str:
    """Returns the path of a shard's lines, or records, of a kind: detections or unreadable."""
    return f"{kind}/{kind}-{shard:05d}-of-{num_shards:05d}{suffix}"

"""What differs between two equal runs because it says when, or how long something took."""

# Of metrics.json the minute of the evaluation; of what `predict` writes how long an image took.
MADE = rb'"Made": "[-0-9: ]+ UTC"|"milliseconds": [0-9.]+'

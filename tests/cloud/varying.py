"""What differs between two equal runs because it says when."""

# Of metrics.json: the minute of the evaluation.
MADE = rb'"Made": "[-0-9: ]+ UTC"'

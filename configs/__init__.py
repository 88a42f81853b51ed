"""What to train, on what: one file per experiment."""

"""A model on disk: weights, description, SavedModel and pushed version."""

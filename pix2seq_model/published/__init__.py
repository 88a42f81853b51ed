"""The published checkpoints: where they are, what they hold, how they are imported."""

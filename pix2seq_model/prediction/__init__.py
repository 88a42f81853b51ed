"""Detections of a user's own images."""

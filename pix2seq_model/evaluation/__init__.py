"""Detections of a split and their COCO numbers, as a folder."""

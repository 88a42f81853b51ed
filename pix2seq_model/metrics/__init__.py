"""COCO numbers and their analysis."""

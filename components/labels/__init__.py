"""Data sets as labelling tools export them: recognised, and written as one COCO file a split."""

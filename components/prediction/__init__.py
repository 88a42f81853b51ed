"""Beam job from images to detections: `predict.predict_images` is the whole of it."""

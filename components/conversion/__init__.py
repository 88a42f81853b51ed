"""The Beam job from annotations and images to TFRecords."""

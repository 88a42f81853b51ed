"""Exported models on ONNX Runtime: needs NumPy, Pillow and ONNX Runtime, and nothing else."""

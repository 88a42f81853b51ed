"""A run on Vertex AI: the job file, its check, its submission."""

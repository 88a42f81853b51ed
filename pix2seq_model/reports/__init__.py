"""Pages, charts and pictures. Nothing here decides an outcome."""

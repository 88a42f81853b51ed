"""TFX components and Beam transforms: thin, they hand artifact folders to the library."""

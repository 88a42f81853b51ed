"""The Pix2Seq network, on any backend of Keras."""

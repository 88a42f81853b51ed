"""Objects as tokens: the vocabulary, sequences for training, and tokens read as boxes."""

"""From records, or an image file, to the arrays a network takes."""

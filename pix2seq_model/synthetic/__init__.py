"""Generated images with objects, for the demonstration and the tests."""

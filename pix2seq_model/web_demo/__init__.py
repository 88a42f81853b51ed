"""A web page that an image can be dropped on."""

"""Damaged and hostile input at each border of the project."""

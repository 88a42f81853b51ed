"""A config: loaded, overridden, validated."""

"""Trainings that differ in one setting, compared over seeds."""

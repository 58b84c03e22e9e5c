"""Measurements of verinfer, by suite."""

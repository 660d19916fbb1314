"""Scores to rates to evidence."""

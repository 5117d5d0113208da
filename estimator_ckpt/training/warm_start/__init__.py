"""Carries out the plan of a warm start in a graph, and reports it."""

"""Touches the world: one file per neighbour."""

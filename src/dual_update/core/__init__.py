"""Decides. Standard library only: no clock, no disk, no network, no environment."""

"""Speaks to people and machines. Thin; no door knows another."""

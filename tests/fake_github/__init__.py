"""A GitHub for tests: it remembers, keeps to GitHub's own description of its API, and fails on request."""

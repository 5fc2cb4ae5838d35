"""Updates for docker compose clusters, driven from git, that end new or old and never between."""

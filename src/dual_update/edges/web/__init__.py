"""The update-orchestrator's web side: API, webhooks, dashboard, metrics."""

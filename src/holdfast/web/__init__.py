"""The server: an HTTP face of `persist`, a dashboard, health and metrics. Needs the extra `serve`."""

"""HTTP: health and status of the service."""

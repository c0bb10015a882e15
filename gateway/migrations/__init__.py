"""Schema migrations (alembic), configured in code by gateway.store.database."""

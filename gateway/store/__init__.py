"""SQL, one module a noun. Functions take a connection and never commit; see docs/architecture.md."""

"""Scheduled work. APScheduler says when; PostgreSQL says who, and once."""

"""Tests of gateway.rules."""

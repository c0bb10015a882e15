"""Tests of gateway.terminals."""

"""Tests of gateway.measure: short, and never of speed."""

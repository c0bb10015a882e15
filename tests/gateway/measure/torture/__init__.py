"""Tests of gateway.measure.torture."""

"""Tests, one twin for each module."""

"""Tests of iso/: one file a module."""

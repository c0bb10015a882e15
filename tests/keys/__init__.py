"""Tests of keys/: one file a module, and doctests and canaries of them all."""

"""Scans to crops, slices and volumes."""

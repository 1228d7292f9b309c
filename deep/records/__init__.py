"""What was computed, on disk: atomic, checksummed, content-addressed. No torch."""

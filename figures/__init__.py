"""Pictures of stored results. The only package that imports matplotlib."""

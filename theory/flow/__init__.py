"""What gradient flow learns from labels and from a teacher, direction by direction."""

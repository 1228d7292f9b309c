"""What soft labels do: to confidence, to risk, to learning."""

"""What the subcommands of ``stillroom bench`` are made of."""

"""Networks, each with named taps."""

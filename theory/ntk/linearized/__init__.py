"""The network that is linear in its parameters, and its training in closed form."""

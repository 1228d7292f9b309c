"""The fast way to the kernel of a network: layer by layer, from inputs and cotangents."""

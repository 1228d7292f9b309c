"""One file per experiment: ``Config`` in four sizes and ``run(config, context) -> Result``."""

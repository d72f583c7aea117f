"""One thin file per command; ``main`` finds it."""

"""Local generation: one engine under ask, evaluate and serve."""

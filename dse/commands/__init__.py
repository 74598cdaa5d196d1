"""The commands of `dse`: one module each with `register(app)`, thin, heavy imports inside the functions."""

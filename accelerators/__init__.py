"""Chips, technologies and parametrised families: a catalogue on top of `dse.hw`."""

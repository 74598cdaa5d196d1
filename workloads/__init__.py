"""Models and their layers: a catalogue on top of `dse.ir`."""

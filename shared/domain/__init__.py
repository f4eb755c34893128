"""Pure rules of Bindery: no I/O, no vendor, no clock of its own."""

"""The names of this machine in a URL; apart from the configuration, which takes the command line too long to import."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

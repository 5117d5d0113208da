"""Training binaries that show the library at work."""

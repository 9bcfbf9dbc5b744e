"""Built-in connectors; each is found through its entry point."""

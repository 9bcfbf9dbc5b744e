"""Built-in extensions; each is found through its entry point."""

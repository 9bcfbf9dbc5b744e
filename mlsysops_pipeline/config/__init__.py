"""Reading configuration: files to checked models, every value with its place."""

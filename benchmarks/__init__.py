"""What the collector costs: CPU per item, memory, time to ready. Run `make bench`."""

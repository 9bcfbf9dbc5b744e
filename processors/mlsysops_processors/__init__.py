"""The processors of mlsysops-collector, a module each."""

"""The exporters of mlsysops-collector, a module each."""

"""The receivers of mlsysops-collector, a module each."""

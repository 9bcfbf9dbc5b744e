"""Where targets come from while the receiver runs: files and HTTP servers.

Each source keeps what it found last until it finds something else: a list that cannot be read
takes no target away.
"""

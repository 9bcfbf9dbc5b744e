"""GET requests for scrapes and discovery: HTTP/1.1 that streams, with limits and a deadline.

`answers` reads answers byte by byte and knows no sockets; `connection` is one socket; `client`
finds the connection to use, identifies itself, follows redirects and decompresses.
"""

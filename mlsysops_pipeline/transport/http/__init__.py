"""HTTP/1.1: a server for requests whose bodies come whole, and the clients of exporters."""

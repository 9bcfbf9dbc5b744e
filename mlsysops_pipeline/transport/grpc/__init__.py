"""The gRPC client: channels and their sockets around `transport.http2`."""

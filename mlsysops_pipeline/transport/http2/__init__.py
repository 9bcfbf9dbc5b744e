"""HTTP/2 and unary gRPC on it, without I/O; `server` puts asyncio around it.

``frames``      bytes of frames, error codes, settings (RFC 9113, sections 4 and 6).
``headers``     header compression (RFC 7541) with caches that follow the dynamic table.
``fields``      which header lists are well formed (RFC 9113, section 8).
``limits``      what a peer may ask for before it loses its connection.
``connection``  one HTTP/2 connection: bytes in, events and bytes out.
``calls``       what the server side is told to do, and about what: services, methods, calls.
``grpc``        unary calls on a connection, server side.
``health``      the health service, a method like any other.
``server``      sockets, tasks and timers around ``grpc``.
``client``      unary calls on a connection, client side; `transport.grpc` is around it.

Everything but ``server`` is plain computation: no socket, no asyncio, no clock. Time is an
argument, so that tests feed a connection byte by byte and turn the clock by hand.
"""

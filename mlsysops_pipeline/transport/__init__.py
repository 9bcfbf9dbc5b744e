"""What servers and clients share: TLS, authentication, compression with limits, status mapping."""

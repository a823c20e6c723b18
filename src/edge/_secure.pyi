"""Connections over TLS: OpenSSL between the socket and the requests."""

from edge._socket import SocketConnection

class SecureConnection(SocketConnection):
    """A connection over TLS. Made by the door only."""

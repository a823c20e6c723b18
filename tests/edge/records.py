"""A client whose TLS 1.3 records are made by hand, once a library has shaken hands: for what no library would send."""

import ctypes
import hashlib
import hmac
import socket
import ssl
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.edge.stand import DEADLINE_S, HOST

ALERT: Final = 21
HANDSHAKE: Final = 22
DATA: Final = 23
CLOSE_NOTIFY: Final = b"\x01\x00"
KEY_UPDATE: Final = b"\x18\x00\x00\x01\x00"  # RFC 8446 section 4.6.3; it asks for none in return

# TLS_AES_256_GCM_SHA384, OpenSSL's first choice.
SECRET_BYTES: Final = 48
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
EVP_CTRL_AEAD_GET_TAG: Final = 0x10


class HandmadeClient:
    """A connection whose handshake is completed; its `socket` takes records."""

    def __init__(self, port: int, context: ssl.SSLContext, keylog: Path) -> None:
        context.keylog_filename = str(keylog)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=HOST)
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self._shake()
        (secret,) = (
            line.split()[2]
            for line in keylog.read_text(encoding="ascii").splitlines()
            if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")
        )
        keylog.unlink()
        self._take(bytes.fromhex(secret))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def _shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._outgoing.read())
                self._incoming.write(self.socket.recv(65536))
            else:
                break
        self.socket.sendall(self._outgoing.read())

    def record(self, kind: int, data: bytes) -> bytes:
        """The next record."""
        inner = data + bytes([kind])
        head = b"\x17\x03\x03" + struct.pack(">H", len(inner) + TAG_BYTES)
        nonce = int.from_bytes(self._iv, "big") ^ self._number
        self._number += 1
        return head + _seal(self._key, nonce.to_bytes(NONCE_BYTES, "big"), head, inner)

    def key_update(self) -> bytes:
        """A record that says that the next one has another key."""
        record = self.record(HANDSHAKE, KEY_UPDATE)
        self._take(_expand(self._secret, b"traffic upd", SECRET_BYTES))
        return record

    def read_all(self) -> bytes:
        """Everything until the edge says close_notify, and then until it closes; raises OSError for a reset."""
        answers = bytearray()
        while data := self.socket.recv(65536):
            self._incoming.write(data)
        while True:
            try:
                data = self._tls.read(65536)
            except ssl.SSLZeroReturnError:
                return bytes(answers)
            if not data:
                return bytes(answers)
            answers += data

    def _take(self, secret: bytes) -> None:
        self._secret = secret
        self._key, self._iv = _expand(secret, b"key", KEY_BYTES), _expand(secret, b"iv", NONCE_BYTES)
        self._number = 0


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1) of what fits in one block."""
    name = b"tls13 " + label
    return hmac.digest(secret, struct.pack(">HB", size, len(name)) + name + b"\x00\x01", hashlib.sha384)[:size]


def _seal(key: bytes, nonce: bytes, head: bytes, data: bytes) -> bytes:
    """AES-256-GCM, which the standard library has not."""
    crypto = ctypes.CDLL("libcrypto.so.3")
    crypto.EVP_CIPHER_CTX_new.restype = crypto.EVP_aes_256_gcm.restype = ctypes.c_void_p
    cipher = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    size, sealed, tag = ctypes.c_int(), ctypes.create_string_buffer(len(data)), ctypes.create_string_buffer(TAG_BYTES)
    crypto.EVP_EncryptInit_ex(cipher, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, key, nonce)
    crypto.EVP_EncryptUpdate(cipher, None, ctypes.byref(size), head, len(head))
    crypto.EVP_EncryptUpdate(cipher, sealed, ctypes.byref(size), data, len(data))
    crypto.EVP_EncryptFinal_ex(cipher, None, ctypes.byref(size))
    crypto.EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag)
    crypto.EVP_CIPHER_CTX_free(cipher)
    return sealed.raw + tag.raw

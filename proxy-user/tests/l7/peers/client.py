"""Python's http.client and a hand-made WebSocket (RFC 6455) at the address given."""
import base64
import hashlib
import http.client
import os
import socket
import struct
import sys

host, port = sys.argv[1], int(sys.argv[2])
connection = http.client.HTTPConnection(host, port, timeout=20)
first = None
for turn in range(20):
    for method, path, body in [
        ("GET", "/", None),
        ("POST", "/", b"x" * 100_000),
        ("PUT", "/", iter([b"ab", b"c" * 5000, b"d"])),
        ("GET", "/chunked", None),
        ("HEAD", "/", None),
        ("DELETE", "/204", None),
        ("GET", "/304", None),
    ]:
        whole = b"ab" + b"c" * 5000 + b"d" if method == "PUT" else body
        connection.request(method, path, body, encode_chunked=method == "PUT",
                           headers={"Transfer-Encoding": "chunked"} if method == "PUT" else {})
        answer = connection.getresponse()
        got = answer.read()
        empty = method == "HEAD" or path in ("/204", "/304")
        assert answer.status == (int(path[1:]) if path in ("/204", "/304") else 200), (method, path, answer.status)
        assert got == (b"" if empty else whole or b"hello"), (method, path, got[:80])
        first = first or connection.sock.getsockname()
        assert connection.sock.getsockname() == first, "the connection was not kept"
connection.request("GET", "/close")
assert connection.getresponse().read() == b"hello"

stream = socket.create_connection((host, port), 20)
key = base64.b64encode(os.urandom(16)).decode()
stream.sendall((f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
reader = stream.makefile("rb")
assert b" 101 " in reader.readline()
accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
headers = http.client.parse_headers(reader)
assert headers["Sec-WebSocket-Accept"] == accept and headers["Upgrade"].lower() == "websocket"


def send(opcode, data):
    mask = os.urandom(4)
    length = bytes([128 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    stream.sendall(bytes([128 | opcode]) + length + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(data)))


def receive():
    opcode, length = reader.read(2)
    if length == 126:
        (length,) = struct.unpack(">H", reader.read(2))
    return opcode & 15, reader.read(length)


for size in (0, 1, 125, 126, 1000, 60_000):
    data = os.urandom(size)
    send(2, data)
    assert receive() == (2, data), size
send(8, struct.pack(">H", 1000))
assert receive() == (8, struct.pack(">H", 1000))
assert reader.read() == b"", "the tunnel ends with its server"
print("fine")

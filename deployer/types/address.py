"""How an IP address stands in a URL, and where a server is reached from this machine."""

_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared only


def in_url(address: str) -> str:
    """Return a host or an address as a URL's authority has it: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]" if ":" in address else address


def local_url(address: str, port: int) -> str:
    """Return where this machine reaches what is published at `address`: a wildcard stands for loopback."""
    return f"http://{in_url(_HERE.get(address, address))}:{port}"

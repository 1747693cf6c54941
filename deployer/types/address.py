"""How an IP address stands in a URL."""


def in_url(address: str) -> str:
    """Return a host or an address as a URL's authority has it: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]" if ":" in address else address

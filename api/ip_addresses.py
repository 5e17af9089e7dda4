"""The IP address of a client, also behind reverse proxies."""

from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings


def client_ip(request) -> str | None:
    """Return the client's IP address: the nearest one that is not in TRUSTED_PROXIES. None when the server has none.

    X-Forwarded-For is read from the right, and only as long as the sender is a trusted proxy, because a client can
    write anything into the header.
    """
    hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    address = _plain(request.META.get("REMOTE_ADDR", ""))
    while address and hops and _is_proxy(address):
        hop = _plain(hops.pop())
        if hop is None:
            break
        address = hop
    return address


def place_of(address: str | None) -> str:
    """Return the place of an IP address, for use in the key of a limit: an IPv4 address, or the /64 of an IPv6 address.

    A provider gives each customer at least a /64, in which a client can change its address for every request.
    """
    if address is None:
        return "unknown"
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ip_network((ip, 64), strict=False))
    return str(ip)


def _plain(address: str) -> str | None:
    """Return an IP address without its interface (as in fe80::1%eth0), or None when the text is not one."""
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return None


def _is_proxy(address: str) -> bool:
    return any(ip_address(address) in ip_network(network) for network in settings.TRUSTED_PROXIES)

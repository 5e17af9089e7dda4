"""Where a request comes from, when proxies stand in front."""

from ipaddress import ip_address, ip_network

from django.conf import settings


def client_ip(request) -> str | None:
    """Return the address of the nearest hop that is not one of our own proxies.

    X-Forwarded-For is read from the right and only as far as TRUSTED_PROXIES reach, so that a client cannot
    choose what we believe. None when the server itself tells none.
    """
    hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    address = _plain(request.META.get("REMOTE_ADDR", ""))
    while address and hops and _is_proxy(address):
        hop = _plain(hops.pop())
        if hop is None:
            break
        address = hop
    return address


def _plain(address: str) -> str | None:
    """Return an address without the interface that a link-local one names (fe80::1%eth0); None if it is none."""
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return None


def _is_proxy(address: str) -> bool:
    return any(ip_address(address) in ip_network(network) for network in settings.TRUSTED_PROXIES)

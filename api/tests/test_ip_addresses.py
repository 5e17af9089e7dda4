"""The IP address of a client behind proxies."""

import pytest
from django.test import RequestFactory

from api.ip_addresses import client_ip, place_of

PROXY, CLIENT, FORGED = "10.0.0.1", "196.201.214.200", "1.2.3.4"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (CLIENT, "", CLIENT),
        (CLIENT, FORGED, CLIENT),  # the header does not come from a trusted proxy
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"{FORGED}, {CLIENT}", CLIENT),  # the client's own value is further left
        (PROXY, f"{CLIENT}, {PROXY}", CLIENT),
        (PROXY, "nonsense", PROXY),
        ("fe80::1%eth0", "", "fe80::1"),  # an inet column does not store the interface
        (PROXY, "fe80::1%eth0", "fe80::1"),
        ("", CLIENT, None),  # a server on a Unix socket
    ],
)
def test_only_trusted_proxies_may_forward_an_ip_address(settings, peer, forwarded, address):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]

    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)

    assert client_ip(request) == address


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("196.201.214.200", "196.201.214.200"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff:ffff::", "2001:db8:0:1::/64"),
        ("::ffff:196.201.214.200", "196.201.214.200"),
        (None, "unknown"),
    ],
)
def test_place_is_an_ipv4_address_or_an_ipv6_network(address, place):
    assert place_of(address) == place

"""Whose address a request is counted under."""

import pytest
from django.test import RequestFactory

from api.ip_addresses import client_ip

PROXY, CLIENT, LIE = "10.0.0.1", "196.201.214.200", "1.2.3.4"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (CLIENT, "", CLIENT),
        (CLIENT, LIE, CLIENT),  # nobody we trust said so
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"{LIE}, {CLIENT}", CLIENT),  # what the client wrote itself stands further left
        (PROXY, f"{CLIENT}, {PROXY}", CLIENT),
        (PROXY, "nonsense", PROXY),
        ("fe80::1%eth0", "", "fe80::1"),  # a column for addresses holds no name of an interface
        (PROXY, "fe80::1%eth0", "fe80::1"),
        ("", CLIENT, None),  # a server on a Unix socket
    ],
)
def test_only_our_own_proxies_are_believed(settings, peer, forwarded, address):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]

    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)

    assert client_ip(request) == address

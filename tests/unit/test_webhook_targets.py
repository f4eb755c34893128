"""Which URLs webhooks may have, and which addresses everyone may reach."""

from __future__ import annotations

import pytest

from shared.domain.errors import Rejected
from shared.domain.webhook_targets import Target, are_public, is_public, read_url

PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",  # carrier-grade NAT
    "127.0.0.1",
    "127.8.9.10",
    "169.254.169.254",  # metadata
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::10.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:0a00:0001::",  # 6to4 of 10.0.0.1
    "2002:808:808::",
    "fc00::1",
    "fd00:ec2::254",  # metadata
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2001:4860:4860::8888", "2a00:1450:4001::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_everyones_is_refused_alone_and_among_others(address: str) -> None:
    assert not is_public(address)
    assert not are_public([*PUBLIC, address])


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_that_everyone_may_reach_is_taken(address: str) -> None:
    assert is_public(address)


def test_a_name_without_addresses_is_refused() -> None:
    assert not are_public([])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example/hooks",
        "//app.example",
        "http://app.example/",
        "ftp://app.example/",
        "file:///etc/passwd",
        "gopher://app.example/",
        "https://",
        "https:///path",
        "https://ann@app.example/",
        "https://ann:secret@app.example/",
        "https://@app.example/",
        "https://app.example\\@127.0.0.1/",
        "https://app.example/#part",
        "https://app.example:0/",
        "https://app.example:99999/",
        "https://app.example:x/",
        "https://app.example/a b",
        "https://app.example/\r\nX: y",
        "https://äpp.example/",
        "https://app%2eexample/",
        "https://[::1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://127.0.0.1/",
        "https://169.254.169.254/computeMetadata/v1/",
        "https://localhost/",
        "https://x.localhost/",
        "https://app.example/" + "x" * 2_000,
    ],
)
def test_a_url_that_no_delivery_goes_to_is_refused(url: str) -> None:
    with pytest.raises(Rejected, match="URL"):
        read_url(url, allow_private=False)


def test_a_url_is_read_into_what_is_asked() -> None:
    read = read_url("https://App.Example:8443/hooks?a=1", allow_private=False)
    assert read == Target(scheme="https", host="app.example", port=8443, path="/hooks?a=1")
    assert read_url("https://[2001:4860:4860::8888]", allow_private=False).host == "2001:4860:4860::8888"
    assert read_url("https://app.example?a=1", allow_private=False).path == "/?a=1"


def test_one_machines_stack_may_ask_itself() -> None:
    assert read_url("http://127.0.0.1:8000/", allow_private=True).port == 8000
    with pytest.raises(Rejected, match="password"):
        read_url("http://ann:secret@127.0.0.1/", allow_private=True)

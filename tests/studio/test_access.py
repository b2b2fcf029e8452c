import pytest

from studio.access import host_of, is_loopback, may_change_server
from studio.configuration import Configuration, load_configuration


def configured(**settings: object) -> Configuration:
    return load_configuration(environment={}, overrides=settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_the_person_at_the_machine_may_change_it(host: str) -> None:
    assert is_loopback(host)
    assert may_change_server(configured(host=host), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_visitors_of_an_open_server_may_not_unless_it_has_a_login(host: str) -> None:
    assert not may_change_server(configured(host=host), {})
    assert may_change_server(configured(host=host, username="ada", password="engine"), {})


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
def test_visitors_that_a_proxy_brings_may_not(header: str) -> None:
    assert not may_change_server(configured(), {header: "203.0.113.5"})


def test_a_space_is_open_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert host_of(configured()) == "0.0.0.0"
    assert not may_change_server(configured(), {})

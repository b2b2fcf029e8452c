import pytest

from partwise.core.errors import ConfigError
from studio.access import (
    address_of,
    api_denial,
    check_address,
    host_of,
    is_loopback,
    may_change_server,
)
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


@pytest.mark.parametrize(
    "header",
    [
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    ],
)
def test_visitors_that_a_proxy_brings_may_not(header: str) -> None:
    assert not may_change_server(configured(), {header: "203.0.113.5"})


def test_a_space_is_open_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert host_of(configured()) == "0.0.0.0"
    assert not may_change_server(configured(), {})


HERE = {"host": "127.0.0.1:7860"}


def status(
    client: str = "127.0.0.1",
    headers: dict[str, str] | None = None,
    *,
    control_token: str = "",
    **settings: object,
) -> int:
    """What a program is answered: 200 when nothing denies it."""
    given = {**HERE, **(headers or {})}
    denial = api_denial(configured(**settings), client, given, control_token)
    return 200 if denial is None else denial.status


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"])
def test_programs_of_this_machine_need_no_token(host: str) -> None:
    assert status(headers={"host": host}) == 200
    assert status("::1", {"host": host}) == 200


@pytest.mark.parametrize("client", ["10.0.0.7", "203.0.113.5", "testclient", ""])
def test_programs_of_other_machines_do(client: str) -> None:
    assert status(client) == 403
    assert status(client, api_token="key") == 401
    assert status(client, {"authorization": "Bearer key"}, api_token="key") == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_a_server_that_others_reach_is_open_to_nobody_without_a_token(host: str) -> None:
    assert status(host=host) == 403
    denial = api_denial(configured(host=host), "127.0.0.1", HERE)
    assert denial is not None
    assert "PARTWISE_APP_API_TOKEN" in denial.sentence


def test_a_login_closes_the_routes_too() -> None:
    assert status(username="ada", password="engine") == 403


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
def test_whom_a_proxy_brings_needs_a_token(header: str) -> None:
    assert status(headers={header: "203.0.113.5"}) == 403
    given = {header: "203.0.113.5", "authorization": "Bearer key"}
    assert status(headers=given, api_token="key") == 200


@pytest.mark.parametrize(
    "given", ["", "key", "Bearer", "Bearer ", "Bearer kez", "Basic key", "Bearer key2", "Bearer é"]
)
def test_another_token_than_the_right_one_is_refused(given: str) -> None:
    assert status(headers={"authorization": given}, api_token="key") == 401


def test_no_token_set_means_that_none_is_right() -> None:
    for given in ("Bearer ", "Bearer", "bearer  "):
        assert status("10.0.0.7", {"authorization": given}) == 403


def test_the_owner_s_command_line_has_a_token_of_its_own() -> None:
    given = {"authorization": "Bearer mine"}
    assert status("10.0.0.7", given, control_token="mine", host="0.0.0.0") == 200
    assert status(headers=given, control_token="mine", api_token="key") == 200
    assert status(headers=given, control_token="", api_token="key") == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1:7860.evil.example"},
        {"origin": "http://127.0.0.1:notaport"},
        {"origin": ""},
        {"origin": "file://"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:7860"},
    ],
)
def test_a_page_of_another_website_is_refused_whatever_it_sends(headers: dict[str, str]) -> None:
    assert status(headers=headers) == 403
    assert status(headers={**headers, "authorization": "Bearer key"}, api_token="key") == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:7860"},
        {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"host": "localhost", "origin": "http://localhost:80"},
    ],
)
def test_the_server_s_own_page_is_welcome(headers: dict[str, str]) -> None:
    assert status(headers=headers) == 200


@pytest.mark.parametrize(
    "host", ["evil.example:7860", "127.0.0.1.evil.example", "[", "", "0.0.0.0"]
)
def test_a_name_of_a_stranger_that_leads_here_is_refused(host: str) -> None:
    assert status(headers={"host": host}) == 403
    assert status(headers={"host": host, "origin": f"http://{host}"}) == 403
    assert status(headers={"host": host, "authorization": "Bearer key"}, api_token="key") == 200


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("[::1]", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
        ("192.168.1.5", "http://192.168.1.5:80"),
    ],
)
def test_this_machine_reaches_its_server_wherever_it_listens(host: str, address: str) -> None:
    assert address_of(host, 80) == address


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_an_address_of_no_use_is_told(host: str) -> None:
    with pytest.raises(ConfigError, match="--host"):
        check_address(host, 7860)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_an_address_of_this_machine_is_taken(host: str) -> None:
    check_address(host, 0)

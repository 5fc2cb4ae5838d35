"""Which variables are taken for secrets, and what is taken out of a text for them."""

import pytest

from dual_update.core.secrecy import is_secret, masked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "hunter2"),
        ("SESSION_KEY", "s3cr3t"),
        ("AUTH", "basic-words"),
        ("ANYTHING", "ghp_0123456789"),
        ("ANYTHING", "aB3aB3aB3aB3aB3aB3aB3"),
    ],
)
def test_secrets_are_known_by_name_or_by_their_look(name: str, value: str) -> None:
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD", "1"),  # too short to be hidden without hiding every 1
        ("TOKEN_SERVICE", "v1.2.3"),
        ("AUTH_IMAGE", "registry/auth"),
        ("XDG_SESSION_CLASS", "user"),
        ("DESKTOP_SESSION", "gnome"),
        ("SSH_AUTH_SOCK", "/run/user/1000/keyring/ssh"),
        ("PATH", "/usr/bin"),
    ],
)
def test_ordinary_values_are_left_in_sentences(name: str, value: str) -> None:
    assert not is_secret(name, value)


def test_urls_lose_their_passwords() -> None:
    assert masked("git clone https://ada:pw@example.org/shop", ()) == "git clone https://***@example.org/shop"

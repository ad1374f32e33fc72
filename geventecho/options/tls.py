"""The options of TLS, shared by the command line and the load tests."""

from __future__ import annotations

import re
from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from geventecho.errors import ConfigError
from geventecho.options.framing import naming
from geventecho.options.types import protocols

__all__ = ["INSECURE", "TLS", "add_tls_arguments", "naming_tls", "tls_values"]

TLS: Final[Mapping[str, tuple[str, str]]] = {
    "ca": ("FILE", "trust the authorities in this PEM file, and not those of the system"),
    "cert": ("FILE", "the client's certificate with its chain, a PEM file"),
    "key": ("FILE", "its key, a PEM file; by default the key is in the certificate's file"),
    "server_name": ("NAME", "the host name to send (SNI) and to check in the certificate; by default the target's"),
    "insecure": ("", "do not check the server's certificate: anybody on the path can then read and change the data"),
    "alpn": ("NAMES", "protocols to offer, the preferred one first, with commas between them (ALPN)"),
    "resume": ("", "resume the newest session with the server, which shortens the handshakes after the first one"),
}  # fmt: skip
"""The options by name, each with the name of its value and its help; a switch has "" for the name of its value."""
INSECURE: Final = "the server's certificate is not checked: anybody on the path can read and change the data"
"""The warning of an insecure run."""


def add_tls_arguments(
    parser: ArgumentParser | _ArgumentGroup,
    option: str = "--tls-",
    more: Callable[[str], Mapping[str, Any]] = lambda _: {},
) -> None:
    """Add the options.

    Args:
        parser: gets them.
        option: the prefix of their names.
        more: returns further arguments of `add_argument` for an option, by its name.
    """
    for name, (metavar, text) in TLS.items():
        form: dict[str, Any] = {"metavar": metavar, "default": ""} if metavar else {"action": "store_true"}
        parser.add_argument(f"{option}{name}".replace("_", "-"), help=text, **form, **more(name))


def tls_values(options: Mapping[str, Any], option: str = "--tls-") -> dict[str, Any]:
    """Return those of the options that were given, as the fields of `geventecho.Tls`.

    Args:
        options: text, or true for a switch; by their names, such as "tls_ca". Empty text was not given.
        option: begins their names.

    Raises:
        ConfigError: one is wrong; the message names it.
    """
    beginning = option.lstrip("-").replace("-", "_")
    values = {name: value for name in TLS if (value := options.get(beginning + name))}
    if "alpn" in values:
        with naming(f"{option}alpn"):
            values["alpn"] = protocols(values["alpn"])
    return values


@contextmanager
def naming_tls(option: str = "--tls-") -> Iterator[None]:
    """Name the options instead of the fields of `geventecho.Tls` in the message of a wrong value.

    Raises:
        ConfigError: the block raised one.
    """
    try:
        yield
    except ConfigError as error:
        message = re.sub(r"\bTls\.(\w+)", lambda found: f"{option}{found[1]}".replace("_", "-"), str(error))
        raise ConfigError(message) from None

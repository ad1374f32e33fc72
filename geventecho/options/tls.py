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
    "ca": ("FILE", "trust the authorities in this PEM file instead of the system's"),
    "cert": ("FILE", "PEM file with the client's certificate and its chain"),
    "key": ("FILE", "PEM file with the certificate's key; by default the key is in the certificate's file"),
    "server_name": ("NAME", "host name to send (SNI) and to check in the certificate; by default the target's host"),
    "insecure": ("", "do not check the server's certificate: anybody on the path can then read and change the data"),
    "alpn": ("NAMES", "protocols to offer by ALPN, separated by commas, the preferred one first"),
    "resume": ("", "resume the newest session with the server: all handshakes after the first one are shorter"),
}  # fmt: skip
"""For each option the name of its value, "" for a switch, and its help."""
INSECURE: Final = "the server's certificate is not checked: anybody on the path can read and change the data"
"""The warning for --tls-insecure."""


def add_tls_arguments(
    parser: ArgumentParser | _ArgumentGroup,
    option: str = "--tls-",
    more: Callable[[str], Mapping[str, Any]] = lambda _: {},
) -> None:
    """Add the options.

    Args:
        parser: gets them.
        option: the prefix of their names.
        more: takes the name of an option, and returns further arguments of `add_argument`.
    """
    for name, (metavar, text) in TLS.items():
        form: dict[str, Any] = {"metavar": metavar, "default": ""} if metavar else {"action": "store_true"}
        parser.add_argument(f"{option}{name}".replace("_", "-"), help=text, **form, **more(name))


def tls_values(options: Mapping[str, Any], option: str = "--tls-") -> dict[str, Any]:
    """Return the given options, as fields of `geventecho.Tls`.

    Args:
        options: by name, such as "tls_ca"; text, or true for a switch. Empty text is an option that was not given.
        option: the prefix of their names.

    Raises:
        ConfigError: an option is wrong; the message names it.
    """
    prefix = option.lstrip("-").replace("-", "_")
    values = {name: value for name in TLS if (value := options.get(prefix + name))}
    if "alpn" in values:
        with naming(f"{option}alpn"):
            values["alpn"] = protocols(values["alpn"])
    return values


@contextmanager
def naming_tls(option: str = "--tls-") -> Iterator[None]:
    """Name the options instead of the fields of `geventecho.Tls` in the message about a wrong value.

    Raises:
        ConfigError: the block raised one.
    """
    try:
        yield
    except ConfigError as error:
        message = re.sub(r"\bTls\.(\w+)", lambda found: f"{option}{found[1]}".replace("_", "-"), str(error))
        raise ConfigError(message) from None

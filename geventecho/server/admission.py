"""Admission of clients: allow and deny lists, caps per address, connect rates.

A flood of clients cannot use up the memory for addresses: `max_connections` bounds the open connections, and the table
of connect rates forgets the address that it has not seen for longest. An IPv6 client counts by its /64, which belongs
to one customer (RFC 6177).
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict
from typing import Final

from geventecho.address import SockAddr, canonical_ip
from geventecho.server.config import ServerConfig
from geventecho.server.counters import Refusal

__all__ = ["TABLE_SIZE", "AddressLimits", "unexpected_effect"]

TABLE_SIZE: Final = 65536
"""Addresses whose connect rate is remembered."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressLimits:
    """Decides about each peer by its address. Unix peers have no address: only an empty allow list refuses them.

    Args:
        config: the limits.

    Attributes:
        knows_proxies: whether peers may be proxies; then their clients are judged in their place.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._max_open = config.max_per_address
        self._rate = config.connect_rate
        self._allow = None if config.allow is None else [_network(text) for text in config.allow]
        self._deny = [_network(text) for text in config.deny]
        self._proxies = [_network(text) for text in config.proxy_protocol_from if text != "unix"]
        self._has_unix_proxies = "unix" in config.proxy_protocol_from
        self.knows_proxies = bool(config.proxy_protocol_from)
        self._has_lists = self._allow is not None or bool(self._deny)
        self._open: Counter[str] = Counter()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._admits_all = not self._has_lists and self._max_open is None and self._rate is None

    def is_proxy(self, sockaddr: SockAddr) -> bool:
        """Whether a peer has to name its client in a PROXY header."""
        if not isinstance(sockaddr, tuple):
            return self._has_unix_proxies
        address = _ip(sockaddr[0])
        return any(address in network for network in self._proxies)

    def admit(self, sockaddr: SockAddr) -> Refusal | None:
        """Admit a peer, and count it until `release`; or return the reason for refusing it."""
        if self._admits_all:
            return None
        if not isinstance(sockaddr, tuple):
            return Refusal.DENIED if self._allow == [] else None
        if not self._listed(sockaddr[0]):
            return Refusal.DENIED
        key = _key(sockaddr[0])
        if self._max_open is not None and self._open[key] >= self._max_open:
            return Refusal.ADDRESS_FULL
        if self._rate is not None and not self._spend(key, self._rate):
            return Refusal.CONNECT_RATE
        if self._max_open is not None:
            self._open[key] += 1
        return None

    def release(self, sockaddr: SockAddr) -> None:
        """Count an admitted peer no longer: its connection has ended."""
        if self._max_open is None or not isinstance(sockaddr, tuple):
            return
        key = _key(sockaddr[0])
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]

    def _listed(self, host: str) -> bool:
        """Deny wins over allow. With an allow list, only the addresses on it are admitted."""
        if not self._has_lists:
            return True
        address = _ip(host)
        if any(address in network for network in self._deny):
            return False
        return self._allow is None or any(address in network for network in self._allow)

    def _spend(self, key: str, rate: float) -> bool:
        """Take a token from the address's bucket, which holds the tokens of one second, and at least one."""
        now, capacity = time.monotonic(), max(1.0, rate)
        tokens, stamp = self._buckets.pop(key, (capacity, now))
        tokens = min(capacity, tokens + (now - stamp) * rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > TABLE_SIZE:
            self._buckets.popitem(last=False)
        return allowed


def unexpected_effect(config: ServerConfig, versions: frozenset[int]) -> str | None:
    """Return a sentence about an effect of the allow and deny lists that their author may not expect, or None.

    Args:
        config: the lists.
        versions: the IP versions of the clients that can reach the listener; empty for a Unix socket.
    """
    allow, deny = config.allow, config.deny
    if allow is not None and not allow:
        return "the allow list is empty: nobody is admitted"
    if config.proxy_protocol_from and (versions or "unix" in config.proxy_protocol_from):
        versions = frozenset((4, 6))  # a proxy may have clients of both versions
    if not versions or (allow is None and not deny):
        return None
    missing = versions - {_network(text).version for text in (deny if allow is None else allow)}
    clients = " and ".join(f"IPv{version}" for version in sorted(missing))
    if allow is None and missing:
        return f"the deny list names no {clients} network: all {clients} clients are admitted"
    return f"the allow list names no {clients} network: nobody is admitted" if missing == versions else None


def _network(text: str) -> Network:
    """Parse a network. An IPv4-mapped network (::ffff:192.0.2.0/120) becomes IPv4, as the addresses of peers do."""
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(canonical_ip(host).partition("%")[0])


def _key(host: str) -> str:
    host = canonical_ip(host).partition("%")[0]
    if ":" not in host:
        return host
    return str(ipaddress.ip_network((host, 64), strict=False))

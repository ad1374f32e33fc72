"""`geventecho ping`: one echo a second, and the time of each."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import gevent

from geventecho.address import DEFAULT_TARGET, Address
from geventecho.cli.arguments import add_command
from geventecho.cli.standard_io import Output, encoding_of
from geventecho.cli.tls import add_tls, tls_of
from geventecho.client import DEFAULT_SIZE, MAX_SIZE, SAMPLES_NEEDED, Ping, Summary, pings
from geventecho.net import PROXY_VERSIONS
from geventecho.options import limit, seconds, seconds_above_zero, whole_number

if TYPE_CHECKING:
    from geventecho.cli.arguments import Commands

__all__ = ["add_to", "run"]

FLUSH_SECONDS: Final = 0.5
"""The time limit of the write of the summary: nobody may be reading."""

DESCRIPTION = f"""\
Send echoes to a server on one connection, one every --interval seconds, and print the time of each in microseconds. At
the end, at the deadline, at Ctrl-C or at SIGTERM print the numbers of sent and lost echoes, and min, avg, percentiles,
max and mdev of the times; mdev is the standard deviation, as in ping(8). Every byte that comes back is compared. An
echo that is under way at the deadline or the signal counts as lost if it has waited a second, or if no echo was
answered before it. Otherwise it is not counted.

For a lost echo the reason is printed (such as refused, connect timeout, read timeout, reset, short reply or corrupt
reply), and the next echo makes a new connection. A percentile with too few answers is printed as a dash:
p99 needs {SAMPLES_NEEDED[99.0]} answers, p99.9 {SAMPLES_NEEDED[99.9]}.

A time runs from just before the send to the arrival of the last byte in the kernel (SO_TIMESTAMPNS). Unix sockets and
TLS have no such stamps: there the time runs to the read. Over plain TCP the time does not include the wake-up of this
program and its read: for a local echo the median is 7 to 27 us less than in a C program that takes the time around
send(2) and recv(2). Both were measured in turn against bench/servers/c_epoll.c on the other core, 64 bytes, 12 times
1,500 echoes.

Exit codes: 0 all echoes were answered, 1 an echo was lost, none was sent, or fewer than COUNT were answered by the
deadline, 2 usage error."""

EPILOG = """\
--json prints JSON lines, one object per echo
  {"type": "echo", "seq": 1, "bytes": 64, "time_us": 84.1}
  {"type": "lost", "seq": 2, "bytes": 64, "kind": "refused", "reason": "connect tcp://..."}
and one object at the end
  {"type": "summary", "target": ..., "bytes": 64, "sent": 2, "answered": 1, "lost": 1, "lost_percent": 50.0,
   "losses": {"refused": 1}, "min_us": ..., "avg_us": ..., "p50_us": ..., "p99_us": ..., "p99.9_us": ...,
   "max_us": ..., "mdev_us": ...}
A time is null when no echo was answered. A percentile is null when too few echoes were answered.

examples:
  geventecho ping                                  until Ctrl-C or SIGTERM
  geventecho ping 192.0.2.7:7 -c 10 -i 0.2
  geventecho ping 192.0.2.7:7 -q -w 60 -i 0.01     a minute, only the summary
  geventecho ping tls://192.0.2.7:7443 --tls-ca ca.pem
  geventecho ping unix:/run/echo.sock -c 4000 -i 0 -s 1024 --json"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, "ping", summary="measure how long echoes take", description=DESCRIPTION, epilog=EPILOG, run=run
    )
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", default=DEFAULT_TARGET,
        help="host:port, tcp://host:port, tls://host:port, unix:/path or unix:@name, on the command line only "
        "(default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-c", "--count", metavar="COUNT", type=whole_number(1), help="number of echoes (default: no limit)"
    )
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=seconds, default=1.0,
        help="time from one echo to the next; 0 sends without pauses (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-s", "--size", metavar="BYTES", type=whole_number(1, MAX_SIZE), default=DEFAULT_SIZE,
        help="size of each payload; consecutive payloads differ (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds_above_zero, default=5.0,
        help="time limit for connecting, and for each echo (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-w", "--deadline", metavar="SECONDS", type=limit,
        help="end the run after this long (default: no limit)",
    )  # fmt: skip
    parser.add_argument(
        "--proxy-protocol", choices=PROXY_VERSIONS,
        help="begin each connection with a PROXY header of this version, which names this end as the client",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the summary at the end")
    parser.add_argument("--json", action="store_true", help="print JSON lines, see below")
    add_tls(parser)


def run(options: argparse.Namespace) -> int:
    """Ping until the count, the deadline, Ctrl-C or SIGTERM, and return the exit code.

    Raises:
        AddressError, ConfigError: the target is wrong.
    """
    target = Address.parse(options.target)
    series = pings(
        target,
        count=options.count,
        interval=options.interval,
        size=options.size,
        timeout=options.timeout,
        deadline=options.deadline,
        proxy_protocol=options.proxy_protocol,
        tls=tls_of(options, target),
    )
    output = Output()
    encoding = encoding_of(sys.stdout)

    def print_line(line: str, timeout: float | None = None) -> None:
        output.write(f"{line}\n".encode(encoding, "backslashreplace"), timeout)

    summary = Summary()
    _interrupt_at_signals()
    try:
        for ping in series:
            summary.add(ping)
            if not options.quiet:
                print_line(_as_json(ping) if options.json else _as_text(ping, target))
    except KeyboardInterrupt:
        pass
    text = json.dumps(_figures(summary, target, options.size)) if options.json else _summary(summary, target)
    print_line(text, FLUSH_SECONDS)
    is_short = options.deadline is not None and summary.sent < (options.count or 0)
    return 0 if summary.sent and not summary.lost and not is_short else 1


def _interrupt_at_signals() -> None:
    """At Ctrl-C and SIGTERM (docker stop, timeout(1)), raise KeyboardInterrupt where this greenlet waits.

    A Python signal handler would raise it anywhere: after a connect but before its client can close the socket, or in a
    destructor, which ignores exceptions.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            gevent.signal_handler(number, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)


def _as_text(ping: Ping, target: Address) -> str:
    if ping.error is not None:
        return f"seq={ping.sequence} lost: {ping.error.kind}: {ping.error}"
    return f"{ping.size} bytes from {target}: seq={ping.sequence} time={_microseconds(ping.seconds)} us"


def _as_json(ping: Ping) -> str:
    common = {"seq": ping.sequence, "bytes": ping.size}
    if ping.error is not None:
        return json.dumps({"type": "lost", **common, "kind": ping.error.kind, "reason": str(ping.error)})
    return json.dumps({"type": "echo", **common, "time_us": _microseconds(ping.seconds)})


def _summary(summary: Summary, target: Address) -> str:
    lines = [
        f"\n--- {target} echo statistics ---",
        f"{summary.sent} sent, {summary.latency.count} answered, {summary.lost} lost ({summary.lost_percent:.3g}%)",
    ]
    if summary.losses:
        lines.append("lost: " + ", ".join(f"{kind} {count}" for kind, count in summary.losses.most_common()))
    if summary.latency.count:
        times = _times(summary)
        values = "/".join("-" if time is None else str(time) for time in times.values())
        lines.append(f"{'/'.join(times)} = {values} us")
    return "\n".join(lines)


def _figures(summary: Summary, target: Address, size: int) -> dict[str, Any]:
    return {
        "type": "summary",
        "target": str(target),
        "bytes": size,
        "sent": summary.sent,
        "answered": summary.latency.count,
        "lost": summary.lost,
        "lost_percent": summary.lost_percent,
        "losses": dict(summary.losses),
        **{f"{name}_us": time for name, time in _times(summary).items()},
    }


def _times(summary: Summary) -> dict[str, float | None]:
    latency = summary.latency
    return {
        "min": _microseconds(latency.min),
        "avg": _microseconds(latency.mean),
        "p50": _microseconds(summary.percentile(50)),
        "p99": _microseconds(summary.percentile(99)),
        "p99.9": _microseconds(summary.percentile(99.9)),
        "max": _microseconds(latency.max),
        "mdev": _microseconds(summary.mdev),
    }


def _microseconds(time: float | None) -> float | None:
    return None if time is None else round(time * 1e6, 1)

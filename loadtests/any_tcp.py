r"""Load-tests any TCP server, without code: options give the request, the end of the reply and the expected reply.

    locust -f loadtests/any_tcp.py --host tcp://127.0.0.1:6379 --tcp-send 'PING\r\n' --tcp-reply-until '\r\n'

The same options are fields of the web UI. They exist only if `AnyTcpUser` is imported from its module.
"""

from geventecho.loadtest.users.any_tcp_user import AnyTcpUser

__all__ = ["AnyTcpUser"]

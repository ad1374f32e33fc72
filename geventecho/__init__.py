"""A TCP echo server and cooperative client on gevent, and TCP load tests in Locust.

    from geventecho import EchoServer
    with EchoServer("127.0.0.1:8090") as server:
        server.serve_forever()

Importing it patches nothing: it uses gevent.socket by name. Only `geventecho.loadtest` imports Locust, which patches.
"""

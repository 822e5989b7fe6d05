"""A UDP relay between clients and the server that loses packets and rebinds like a bad NAT.

Clients send to the address that the server announces; each has a socket of its own towards the
server. A *bad* one loses media in both directions, and `rebind` gives it another source port, as a
NAT does that has forgotten the mapping. A *narrow* one has a bottleneck on its way down.
"""

import asyncio
import random

# IPv4 and UDP.
HEADERS_BYTES = 28
# Seconds: what waits longer in front of a bottleneck has no room.
QUEUE = 0.3


class Flow(asyncio.DatagramProtocol):
    """One client's way to the server."""

    def __init__(self, relay, client, bad, narrow=False):
        self.relay, self.client, self.bad, self.narrow = relay, client, bad, narrow
        self.lost_up = self.lost_down = self.rebinds = 0
        # When the bottleneck has nothing to send any more.
        self.free = 0.0
        self.transport = None
        self.waiting = []

    async def open(self):
        """Takes a new source port towards the server."""
        before = self.transport
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.relay.inside, 0), remote_addr=self.relay.server
        )
        if before:
            before.close()
            self.rebinds += 1
        for datagram in self.waiting:
            self.transport.sendto(datagram)
        self.waiting = []

    def up(self, datagram):
        if self.bad and self.relay.loses(datagram):
            self.lost_up += 1
        elif self.transport:
            self.transport.sendto(datagram)
        else:
            self.waiting.append(datagram)

    def datagram_received(self, data, _addr):
        if self.bad and self.relay.loses(data):
            self.lost_down += 1
        elif self.narrow:
            self.squeeze(data)
        else:
            self.relay.transport.sendto(data, self.client)

    def squeeze(self, data):
        """One datagram after the other, as fast as the bottleneck is."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        begins = max(self.free, now)
        if begins - now > QUEUE:
            self.lost_down += 1
            return
        self.free = begins + (len(data) + HEADERS_BYTES) * 8 / self.relay.speed
        loop.call_at(self.free, self.relay.transport.sendto, data, self.client)

    def error_received(self, exc):
        """The server is not there yet, or no longer."""


class Relay(asyncio.DatagramProtocol):
    """Listens where the server says it is."""

    def __init__(self, outside, server, loss, seed):
        self.outside, self.server, self.loss = outside, server, loss
        self.inside = server[0]
        self.random = random.Random(seed)
        self.flows = {}
        # Whether clients that come now have a bad way.
        self.bad = False
        # Whether they have a narrow one, and how many bits a second that carries.
        self.narrow, self.speed = False, 5_000_000
        self.transport = None

    async def start(self):
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self.outside)

    def loses(self, datagram):
        """Media and feedback are lost, handshakes are not: how those repeat is the library's."""
        return 128 <= datagram[0] < 192 and self.random.random() < self.loss

    def datagram_received(self, data, addr):
        flow = self.flows.get(addr)
        if flow is None:
            flow = self.flows[addr] = Flow(self, addr, self.bad, self.narrow)
            asyncio.ensure_future(flow.open())
        flow.up(data)

    def bad_flows(self):
        return [flow for flow in self.flows.values() if flow.bad]

    async def rebind(self):
        for flow in self.bad_flows():
            await flow.open()

    def close(self):
        for flow in self.flows.values():
            if flow.transport:
                flow.transport.close()
        self.transport.close()

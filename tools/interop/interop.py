"""Each client publishes and watches, with loss and a NAT that rebinds in the middle; prints a table.

    interop.py --server target/debug/monoport --tools target/interop [--only pion,aiortc]

With `--narrow firefox`, that browser watches three layers of Chromium's instead: see narrow.py.

Exit status 1: a cell that must be "yes" is not (`--must`, a list of clients).
"""

import argparse
import asyncio
import json
import os
import sys
import time

from clients import clients_of
from narrow import narrow
from relay import Relay
from server import Server

LOSS = 0.02
# Seconds: of watching or publishing in all, when the NAT forgets the client, and how long before
# that nothing is lost any more.
LENGTH = 18
REBIND_AT = 6
SETTLE = 2
# What the reference publisher sends.
FRAMES_A_SECOND = 30


class Result:
    """What became of one client in one role."""

    def __init__(self):
        self.works, self.first_ms, self.repaired, self.survived = "no", "", "", ""
        self.why = ""

    def holds(self):
        return self.works == "yes" and self.survived == "yes"

    def cells(self):
        return [self.works, self.first_ms, self.repaired, self.survived]


class Running:
    """A client's process, whose lines of JSON say how far it is."""

    def __init__(self, command, log, environment=None):
        self.command, self.log = command, log
        self.environment = {**os.environ, **(environment or {})}
        self.lines, self.version, self.started = [], "", time.monotonic()
        self.first_frame = None

    async def start(self):
        with open(self.log, "w") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdout=asyncio.subprocess.PIPE, stderr=log, env=self.environment
            )
        self.reader = asyncio.ensure_future(self.read())
        return self

    async def read(self):
        while line := await self.process.stdout.readline():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if not isinstance(said, dict):
                continue
            self.version = said.get("version") or self.version
            if said.get("frames", 0) > 0 and self.first_frame is None:
                self.first_frame = time.monotonic()
            self.lines.append((time.monotonic(), said))

    def last(self):
        return self.lines[-1][1] if self.lines else {}

    def frames_since(self, moment):
        """Frames that came after a moment, by the lines."""
        before = [said.get("frames", 0) for at, said in self.lines if at <= moment]
        return self.last().get("frames", 0) - (before[-1] if before else 0)

    async def stop(self):
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except asyncio.TimeoutError:
                self.process.kill()
        await self.reader

    def complaint(self):
        """The last line of what it wrote to stderr."""
        with open(self.log, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
        return lines[-1][:160] if lines else ""


class Bench:
    """One server and one relay, for one test at a time."""

    def __init__(self, options, number):
        self.options, self.number = options, number
        base = options.port + 10 * number
        outside = (f"10.77.0.{20 + number}", base + 2)
        log = os.path.join(options.tools, "log", f"server-{number}.log")
        self.server = Server(options.server, base, base + 1, outside, log)
        self.relay = Relay(outside, ("127.0.0.1", base + 1), LOSS, seed=number)

    async def __aenter__(self):
        await self.relay.start()
        await self.server.start()
        return self

    async def __aexit__(self, *_):
        await self.server.stop()
        self.relay.close()
        # Sockets close in the loop's next turn; the next test takes the same ports.
        await asyncio.sleep(0.1)

    def log(self, *name):
        return os.path.join(self.options.tools, "log", "-".join(name) + ".log")

    def reference(self, role, stream):
        tools = self.options.tools
        path = {"publish": "whip", "watch": "whep"}[role]
        command = [os.path.join(tools, "pion"), role, f"{self.server.url}/{path}/{stream}", "60"]
        if role == "publish":
            command += [os.path.join(tools, "video.ivf"), os.path.join(tools, "audio.ogg")]
        return Running(command, self.log("reference", role, stream))

    async def live(self, stream, within):
        """Whether media of a stream's publisher comes, within seconds."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            session = await self.server.session(stream, "publisher")
            if session and session.get("packets", 0) > 0:
                return True
            await asyncio.sleep(0.1)
        return False

    async def publish(self, client):
        result, stream = Result(), f"{client.name}-up"
        self.relay.bad = True
        command = client.publish(self.server.url, stream, LENGTH)
        running = await Running(command, self.log(client.name, "publish"), client.environment).start()
        try:
            if not await self.live(stream, client.patience):
                result.why = running.complaint()
                return result, running
            result.works = "yes"
            first = (await self.server.session(stream, "publisher"))["phases_ms"]["first_media"]
            result.first_ms = f"{first} ms"
            self.relay.bad = False
            viewer = await self.reference("watch", stream).start()

            async def repaired():
                missing = viewer.last().get("missing", 0)
                lost = sum(flow.lost_up for flow in self.relay.bad_flows())
                return f"{max(lost - missing, 0)} of {lost}"

            await self.rest(viewer, result, repaired)
            await viewer.stop()
        finally:
            await running.stop()
        return result, running

    async def watch(self, client):
        result, stream = Result(), f"{client.name}-down"
        self.relay.bad = False
        publisher = await self.reference("publish", stream).start()
        running = None
        try:
            if not await self.live(stream, 10):
                raise RuntimeError("the reference publisher does not publish")
            self.relay.bad = True
            command = client.watch(self.server.url, stream, LENGTH)
            log = self.log(client.name, "watch")
            running = await Running(command, log, client.environment).start()
            end = time.monotonic() + client.patience
            while time.monotonic() < end and running.first_frame is None:
                await asyncio.sleep(0.05)
            if running.first_frame is None:
                result.why = running.complaint()
                return result, running
            result.works = "yes"
            session = await self.server.session(stream, "viewer")
            first = running.last().get("first_ms")
            result.first_ms = f"{first:.0f} ms" if first else "< 1 s"

            async def resent():
                card = await self.server.session(stream, "viewer") or session
                lost = sum(flow.lost_down for flow in self.relay.bad_flows())
                return f"{card['repaired']} for {lost}"

            await self.rest(running, result, resent)
        finally:
            if running:
                await running.stop()
            await publisher.stop()
        return result, running

    async def rest(self, viewer, result, repaired):
        """The NAT forgets the client under test in the middle; do frames still come at the end?"""
        await asyncio.sleep(REBIND_AT - SETTLE)
        # What was lost is repaired or given up, and the clients have said so.
        self.relay.loss = 0
        await asyncio.sleep(SETTLE)
        result.repaired = await repaired()
        self.relay.loss = LOSS
        await self.relay.rebind()
        await asyncio.sleep(LENGTH - REBIND_AT - 4)
        before = time.monotonic()
        await asyncio.sleep(3)
        frames = viewer.frames_since(before)
        alive = frames >= FRAMES_A_SECOND
        result.survived = "yes" if alive else f"no ({frames} frames in 3 s)"


async def one(options, number, client):
    rows = {}
    version = ""
    # A machine that is busy with something else is given other tries.
    tries = 3 if client.name in options.must else 1
    for role in client.roles:
        for _ in range(tries):
            result, said = await once(options, number, client, role)
            version = said or version
            if result.holds():
                break
        rows[role] = result
    return client, version or client.version, rows


async def once(options, number, client, role):
    version = ""
    async with Bench(options, number) as bench:
        try:
            result, running = await getattr(bench, role)(client)
            version = running.version if running else ""
        except (OSError, RuntimeError) as error:
            result = Result()
            result.why = str(error)
    print(f"  {client.name} {role}: {result.cells()} {result.why}", file=sys.stderr, flush=True)
    return result, version


async def all_of(options):
    clients = [c for c in clients_of(options.tools) if not options.only or c.name in options.only]
    queue = asyncio.Queue()
    for client in clients:
        queue.put_nowait(client)
    done = []

    async def worker(number):
        while not queue.empty():
            done.append(await one(options, number, queue.get_nowait()))

    await asyncio.gather(*(worker(number) for number in range(options.at_once)))
    return sorted(done, key=lambda row: clients.index(row[0]))


def table(done):
    head = ["Client", "Publishes", "First media", "Repaired", "Survived"]
    head += ["Watches", "First frame", "Resent", "Survived"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    notes = []
    for client, version, rows in done:
        cells = []
        for role in ["publish", "watch"]:
            cells += rows[role].cells() if role in rows else ["-", "", "", ""]
            if role in rows and rows[role].why:
                notes.append(f"{client.title} {role}: {rows[role].why}")
        print(f"| {client.title} {version} | " + " | ".join(cells) + " |")
    for note in notes:
        print(f"\n{note}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--only", type=lambda names: names.split(","))
    parser.add_argument("--must", type=lambda names: names.split(","), default=[])
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--port", type=int, default=27100)
    parser.add_argument("--narrow", metavar="BROWSER")
    options = parser.parse_args()
    os.makedirs(os.path.join(options.tools, "log"), exist_ok=True)
    if options.narrow:
        browsers = {client.name: client for client in clients_of(options.tools)}
        asyncio.run(narrow(Bench(options, 0), Running, browsers, options.narrow))
        return
    done = asyncio.run(all_of(options))
    table(done)
    failed = [
        f"{client.name} {role}"
        for client, _, rows in done
        for role, result in rows.items()
        if client.name in options.must and not result.holds()
    ]
    if failed:
        sys.exit("these must work and do not: " + ", ".join(failed))


if __name__ == "__main__":
    main()

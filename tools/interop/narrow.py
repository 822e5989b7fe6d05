"""A browser watches behind a path that becomes narrow, and wide again: which layer it gets, and when.

Chromium publishes three layers, 240, 480 and 960 pixels wide, on a path that carries everything. What
the server makes of the path is written down meanwhile, in a log beside those of the browsers.
"""

import asyncio
import json
import sys
import time

# What the path carries, in bits a second, and how wide the picture is that it has room for.
STEPS = [
    (4_000_000, 960),
    (1_000_000, 480),
    (4_000_000, 960),
    (300_000, 240),
    (1_000_000, 480),
    (5_000_000, 960),
]
WIDTHS = [240, 480, 960]
# Seconds: of one step, and how long it may take until all layers come, and the right one is shown.
STEP = 15
RAMP = 60
# How long a browser may take until it runs and shows something: the first time, on a busy machine.
BEGIN = 90
STREAM = "narrow"


async def until(within, done):
    """Seconds until something is so, or None."""
    begun = time.monotonic()
    while time.monotonic() - begun < within:
        found = done()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return time.monotonic() - begun
        await asyncio.sleep(0.05)
    return None


async def layers(server):
    """The layers that are sent: their widths, and their bits a second."""
    found = await server.get("/api/v1/streams") or {"streams": []}
    sent = [layer for stream in found["streams"] for layer in stream["layers"]]
    video = [layer for layer in sent if layer["kind"] == "video" and not layer["silent"]]
    return {layer["width"]: layer["bits_per_s"] for layer in video}


async def narrow(bench, running, browsers, name):
    """Prints a table; exits when a browser is missing or shows nothing."""
    for wanted in ["chromium", name]:
        if wanted not in browsers:
            sys.exit(f"{wanted} is not installed")
    publisher, viewer = browsers["chromium"], browsers[name]
    async with bench:
        url, length = bench.server.url, RAMP + len(STEPS) * STEP + BEGIN + 30

        async def begin(client, role, path):
            command = client.command(role, f"{url}/{path}/{STREAM}", length)
            log = bench.log(client.name, "narrow", role)
            return await running(command, log, client.environment).start()

        sends = await begin(publisher, "layers", "whip")
        watches = told = None
        try:
            async def all_come():
                return sorted(await layers(bench.server), key=str) == WIDTHS

            if await until(RAMP, all_come) is None:
                sys.exit(f"three layers do not come: {sends.complaint()}")
            # The largest has what it may have by then.
            await asyncio.sleep(15)
            print(f"layers: {await layers(bench.server)}")
            bench.relay.narrow, bench.relay.speed = True, STEPS[0][0]
            watches = await begin(viewer, "watch", "whep")
            if await until(BEGIN, lambda: watches.first_frame) is None:
                sys.exit(f"nothing is seen: {watches.complaint()}")
            told = asyncio.ensure_future(tell(bench, bench.log(name, "narrow", "server")))
            await steps(bench, watches)
            print(f"{viewer.title} {watches.version}: frozen {frozen(watches)} ms in all")
        finally:
            if told:
                told.cancel()
            if watches:
                await watches.stop()
            await sends.stop()


async def tell(bench, path):
    """Writes twice a second what the server thinks of the viewer's path, and what it sends."""
    begun = time.monotonic()
    with open(path, "w") as log:
        while True:
            card = await bench.server.session(STREAM, "viewer") or {}
            names = ["estimate", "layer", "nacked", "repaired", "keyframe_requests", "rtt_ms"]
            seen = {name: card.get(name) for name in names}
            at = round(time.monotonic() - begun, 1)
            print(json.dumps({"at": at, "speed": bench.relay.speed, **seen}), file=log, flush=True)
            await asyncio.sleep(0.5)


def frozen(watches):
    return watches.last().get("frozen_ms", 0)


async def steps(bench, watches):
    print("| The path carries | Right width | After | Frozen | Changes of width |")
    print("|---|---|---|---|---|")
    for speed, width in STEPS:
        bench.relay.speed = speed
        begun, before = time.monotonic(), frozen(watches)
        after = await until(STEP, lambda: watches.last().get("width") == width)
        await asyncio.sleep(max(0, STEP - (time.monotonic() - begun)))
        seen = [said["width"] for at, said in watches.lines if at >= begun and "width" in said]
        changes = sum(one != next for one, next in zip(seen, seen[1:]))
        told = "never" if after is None else f"{after:.1f} s"
        stood = frozen(watches) - before
        print(f"| {speed / 1e6:g} Mb/s | {width} | {told} | {stood} ms | {changes} |", flush=True)

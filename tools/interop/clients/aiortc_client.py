"""aiortc, which decodes what it watches."""

import asyncio
import sys
import time

import aiortc
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer

import whip

seen = {"frames": 0, "audio": 0}


async def count(track, what, start):
    while True:
        await track.recv()
        seen[what] += 1
        if what == "frames" and "first_ms" not in seen:
            seen["first_ms"] = (time.monotonic() - start) * 1000


async def main(role, url, seconds):
    start = time.monotonic()
    connection = RTCPeerConnection()
    tasks = []
    if role == "publish":
        source = "testsrc2=size=320x180:rate=30"
        player = MediaPlayer(source, format="lavfi")
        connection.addTrack(player.video)
        tone = MediaPlayer("sine=frequency=440:sample_rate=48000", format="lavfi")
        connection.addTrack(tone.audio)
    else:
        connection.addTransceiver("video", direction="recvonly")
        connection.addTransceiver("audio", direction="recvonly")

        @connection.on("track")
        def on_track(track):
            what = "frames" if track.kind == "video" else "audio"
            tasks.append(asyncio.ensure_future(count(track, what, start)))

    await connection.setLocalDescription(await connection.createOffer())
    answer, session = await asyncio.to_thread(whip.post, url, connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    for _second in range(seconds):
        await asyncio.sleep(1)
        whip.say(version=aiortc.__version__, state=connection.connectionState, **seen)
    await asyncio.to_thread(whip.leave, session)
    await connection.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

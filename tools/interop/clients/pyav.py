"""FFmpeg's libraries as PyAV ships them: another version and another TLS library than the tool's."""

import sys
import time

import av
import numpy

import whip


def main(url, seconds):
    whip.say(version=av.ffmpeg_version_info)
    out = av.open(url, "w", format="whip")
    video = out.add_stream("libx264", rate=30)
    video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
    video.bit_rate, video.profile = 800_000, "Baseline"
    video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "60", "bf": "0"}
    audio = out.add_stream("libopus", rate=48_000)
    audio.layout = "stereo"
    start, frames, samples = time.monotonic(), 0, 0
    picture = numpy.zeros((360, 640, 3), dtype=numpy.uint8)
    tone = numpy.zeros((1, 2 * 960), dtype=numpy.int16)
    while (now := time.monotonic() - start) < seconds:
        if frames <= now * 30:
            picture[:, (frames * 4) % 640 :] = frames % 256
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = frames
            frames += 1
            for packet in video.encode(frame):
                out.mux(packet)
        if samples <= now * 48_000:
            sound = av.AudioFrame.from_ndarray(tone, format="s16", layout="stereo")
            sound.sample_rate, sound.pts = 48_000, samples
            samples += 960
            for packet in audio.encode(sound):
                out.mux(packet)
        time.sleep(0.002)
    out.close()


main(sys.argv[2], int(sys.argv[3]))

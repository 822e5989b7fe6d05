"""The clients: how each is told to publish or to watch.

Each is a program that prints a line of JSON a second: `frames` that came whole or were sent, and
`version`. FFmpeg has no such line: what it publishes is seen by the viewer that watches it.
"""

import glob
import os
import shlex
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
RECIPES = os.path.join(HERE, "../../../src/manual/recipes.md")
BOTH = ("publish", "watch")


class Client:
    """A client, found under `tools`."""

    def __init__(self, name, title, command, roles=BOTH, patience=12, environment=None, version=""):
        self.name, self.title, self.command, self.roles = name, title, command, roles
        self.patience, self.environment, self.version = patience, environment, version

    def publish(self, url, stream, seconds):
        return self.command("publish", f"{url}/whip/{stream}", seconds + 4)

    def watch(self, url, stream, seconds):
        return self.command("watch", f"{url}/whep/{stream}", seconds + 4)


def script(interpreter, file):
    path = os.path.join(HERE, file)
    return lambda role, url, seconds: [interpreter, path, role, url, str(seconds)]


def recipe(program):
    """The words of the manual's recipe for a program."""
    with open(RECIPES) as manual:
        parts = manual.read().split("```")
    block = next(part for part in parts if part.startswith(f"sh\n{program} "))
    return shlex.split(block.removeprefix("sh\n").replace("\\\n", " "))


def ffmpeg(*program):
    """The manual's recipe, word for word but for the program and the URL."""
    words = recipe("ffmpeg")

    def command(_role, url, seconds):
        return [*program, "-nostdin", *words[1:-1], "-t", str(seconds), url]

    return command


def gst_http(program):
    """Likewise for GStreamer, by a program that has its WHIP and WHEP elements."""
    words = recipe("gst-launch-1.0")
    watch = "whepsrc name=it audio-caps=application/x-rtp,payload=96,media=audio,encoding-name=OPUS"
    watch += ",clock-rate=48000 video-caps=application/x-rtp,payload=101,media=video"
    watch += ",encoding-name=VP8,clock-rate=90000 "
    ends = "it. ! rtpvp8depay ! vp8dec ! fakesink name=counted it. ! rtpopusdepay ! fakesink"

    def command(role, url, seconds):
        if role == "publish":
            named = [word for word in words[1:] if not word.startswith("whip-endpoint=")]
            return [program, str(seconds), *named, f"whip-endpoint={url}"]
        return [program, str(seconds), *f"{watch} whep-endpoint={url} {ends}".split()]

    return command


def version_of(*binary):
    try:
        said = subprocess.run([*binary, "-version"], capture_output=True, text=True, timeout=10)
        return said.stdout.split()[2].split("-")[0].lstrip("n")
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def newer(root):
    """Those of a newer distribution's, where one was put into a folder (`run --newer`)."""
    if not os.path.isdir(root):
        return []
    inside = ["chroot", root]
    version = version_of(*inside, "ffmpeg")
    tls = "FFmpeg (Debian, GnuTLS)"
    program = ffmpeg(*inside, "ffmpeg")
    found = [Client("ffmpeg-newer", tls, program, ("publish",), version=version)]
    shutil.copytree(HERE, os.path.join(root, "interop"), dirs_exist_ok=True)
    line = [*inside, "/usr/bin/python3", "/interop/gstreamer.py"]
    command = lambda role, url, seconds: [*line, role, url, str(seconds)]  # noqa: E731
    return [*found, Client("gstreamer-newer", "GStreamer", command)]


def clients_of(tools):
    """Those that are installed."""
    found = []
    pion = os.path.join(tools, "pion")
    media = [os.path.join(tools, "video.ivf"), os.path.join(tools, "audio.ogg")]
    found.append(Client("pion", "Pion", lambda role, url, s: [pion, role, url, str(s), *media]))
    python = os.path.join(tools, "py", "bin", "python")
    found.append(Client("aiortc", "aiortc", script(python, "aiortc_client.py")))
    pattern = os.path.join(tools, "py/lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*")
    for binary in glob.glob(pattern):
        version = version_of(binary)
        found.append(Client("ffmpeg", "FFmpeg", ffmpeg(binary), ("publish",), version=version))
    found.append(Client("ffmpeg-8", "FFmpeg (PyAV)", script(python, "pyav.py"), ("publish",)))
    # Its GObject bindings belong to the distribution's own Python.
    if shutil.which("gst-inspect-1.0"):
        found.append(Client("gstreamer", "GStreamer", script("/usr/bin/python3", "gstreamer.py")))
    binary = os.path.join(tools, "gst-http", "debug", "gst-http")
    if os.path.exists(binary):
        found.append(Client("gst-http", "GStreamer whipsink, whepsrc", gst_http(binary)))
    found += newer(os.path.join(tools, "newer"))
    node = shutil.which("node")
    if node and os.path.isdir(os.path.join(tools, "node_modules")):
        where = {"INTEROP_MODULES": os.path.join(tools, "node_modules")}
        for name, title in [("werift", "werift"), ("wrtc", "@roamhq/wrtc")]:
            found.append(Client(name, title, script(node, f"{name}.mjs"), environment=where))
        libdatachannel = script(node, "libdatachannel.mjs")
        found.append(Client("libdatachannel", "libdatachannel", libdatachannel, environment=where))
        for name, title in [("chromium", "Chromium"), ("firefox", "Firefox")]:
            binary = shutil.which(name) or shutil.which(f"{name}-esr")
            if binary:
                environment = {**where, "INTEROP_BROWSER": binary, "INTEROP_NAME": name}
                browser = script(node, "browser.mjs")
                found.append(Client(name, title, browser, patience=25, environment=environment))
    return found

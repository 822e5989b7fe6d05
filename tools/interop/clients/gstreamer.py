"""GStreamer's webrtcbin, as applications use it."""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

import whip  # noqa: E402

PUBLISH = (
    "webrtcbin name=peer bundle-policy=max-bundle "
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 "
    "! videoconvert ! vp8enc deadline=1 cpu-used=8 target-bitrate=800000 keyframe-max-dist=60 "
    "! rtpvp8pay pt=96 ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! peer. "
    "audiotestsrc is-live=true ! audioconvert ! audioresample ! opusenc "
    "! rtpopuspay pt=97 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! peer. "
)


class Peer:
    """One webrtcbin until its time is over."""

    def __init__(self, role, url, seconds):
        self.role, self.url, self.left = role, url, seconds
        self.start, self.first_ms, self.session = time.monotonic(), None, None
        self.frames = self.audio = 0
        self.loop = GLib.MainLoop()
        if role == "publish":
            self.pipe = Gst.parse_launch(PUBLISH)
            self.peer = self.pipe.get_by_name("peer")
        else:
            self.pipe, self.peer = Gst.Pipeline(), Gst.ElementFactory.make("webrtcbin", "peer")
            self.peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            self.pipe.add(self.peer)
        self.offered = False
        if role == "watch":
            receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            for caps in [
                "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=96,"
                "rtcp-fb-nack=true,rtcp-fb-nack-pli=true",
                "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,"
                "encoding-params=(string)2,payload=97",
            ]:
                it = self.peer.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
                it.set_property("do-nack", True)
            self.peer.connect("pad-added", self.on_pad)
        else:
            for index in range(2):
                self.peer.emit("get-transceiver", index).set_property("do-nack", True)
        self.peer.connect("on-negotiation-needed", self.on_negotiation)
        self.peer.connect("notify::ice-gathering-state", self.on_gathered)

    def on_negotiation(self, _peer):
        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self.on_offer))

    def on_offer(self, promise):
        # The reply owns the offer.
        reply = promise.get_reply()
        self.peer.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())
        self.on_gathered()

    def on_gathered(self, *_):
        state = self.peer.get_property("ice-gathering-state")
        if state == GstWebRTC.WebRTCICEGatheringState.COMPLETE and not self.offered:
            self.offered = True
            GLib.idle_add(self.signal)

    def signal(self):
        offer = self.peer.get_property("local-description").sdp.as_text()
        answer, self.session = whip.post(self.url, offer)
        _, message = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(answer.encode(), message)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        description = GstWebRTC.WebRTCSessionDescription.new(kind, message)
        self.peer.emit("set-remote-description", description, Gst.Promise.new())

    def on_pad(self, _peer, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        video = "video" in pad.get_current_caps().to_string()
        line = "rtpvp8depay ! vp8dec" if video else "rtpopusdepay ! opusdec"
        tail = Gst.parse_bin_from_description(
            f"queue ! {line} ! fakesink name=sink sync=false signal-handoffs=true", True
        )
        tail.get_by_name("sink").connect("handoff", self.on_frame, video)
        self.pipe.add(tail)
        tail.sync_state_with_parent()
        pad.link(tail.get_static_pad("sink"))

    def on_frame(self, _sink, _buffer, _pad, video):
        self.frames += video
        self.audio += not video
        if video and self.first_ms is None:
            self.first_ms = (time.monotonic() - self.start) * 1000

    def each_second(self):
        state = self.peer.get_property("connection-state").value_nick
        version = ".".join(str(part) for part in Gst.version()[:3])
        whip.say(version=version, frames=self.frames, audio=self.audio, state=state,
                 first_ms=self.first_ms)
        self.left -= 1
        if self.left == 0:
            self.loop.quit()
        return self.left > 0

    def run(self):
        self.pipe.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(1, self.each_second)
        self.loop.run()
        if self.session:
            whip.leave(self.session)
        self.pipe.set_state(Gst.State.NULL)


Gst.init(None)
Peer(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()

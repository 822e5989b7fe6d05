// libwebrtc's native build for Node, as servers and bots use it.

import { load, post, report, role, version } from './whip.mjs';

const wrtc = load('@roamhq/wrtc');
const seen = { frames: 0, audio: 0, version: version('@roamhq/wrtc') };
const started = Date.now();
const peer = new wrtc.RTCPeerConnection();

function picture(source, width, height, number) {
  const data = new Uint8ClampedArray((width * height * 3) / 2).fill(128);
  for (let y = 0; y < height; y++) {
    data.fill((y + number * 4) & 255, y * width, (y + 1) * width);
  }
  source.onFrame({ width, height, data });
}

if (role === 'publish') {
  const video = new wrtc.nonstandard.RTCVideoSource();
  const audio = new wrtc.nonstandard.RTCAudioSource();
  peer.addTrack(video.createTrack());
  peer.addTrack(audio.createTrack());
  setInterval(() => picture(video, 320, 240, seen.frames++), 33);
  const samples = new Int16Array(480);
  setInterval(() => audio.onData({ samples, sampleRate: 48000 }), 10);
} else {
  peer.addTransceiver('video', { direction: 'recvonly' });
  peer.addTransceiver('audio', { direction: 'recvonly' });
  peer.ontrack = ({ track }) => {
    if (track.kind === 'video') {
      const sink = new wrtc.nonstandard.RTCVideoSink(track);
      sink.onframe = () => {
        seen.frames += 1;
        seen.first_ms ??= Date.now() - started;
      };
    } else {
      const sink = new wrtc.nonstandard.RTCAudioSink(track);
      sink.ondata = () => (seen.audio += 1);
    }
  };
}
await peer.setLocalDescription(await peer.createOffer());
while (peer.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 20));
const { sdp, session } = await post(peer.localDescription.sdp);
await peer.setRemoteDescription({ type: 'answer', sdp });
await report(session, () => ({ ...seen, state: peer.connectionState }));

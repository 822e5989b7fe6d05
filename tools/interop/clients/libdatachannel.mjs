// libdatachannel: DTLS and ICE of its own, media as RTP that the application makes.

import { entry, post, report, role, version } from './whip.mjs';

const library = (await import(entry('node-datachannel'))).default;
const seen = { frames: 0, audio: 0, version: version('node-datachannel') };
const started = Date.now();
const peer = new library.PeerConnection('interop', { iceServers: [] });
const way = role === 'publish' ? 'SendOnly' : 'RecvOnly';

const video = new library.Video('video', way);
video.addVP8Codec(96);
const audio = new library.Audio('audio', way);
audio.addOpusCodec(111);
if (role === 'publish') {
  video.addSSRC(1111, 'interop', 'stream', 'video');
  audio.addSSRC(2222, 'interop', 'stream', 'audio');
}
const videoTrack = peer.addTrack(video);
const audioTrack = peer.addTrack(audio);

/** An RTP packet (RFC 3550 section 5.1). */
function packet(payloadType, ssrc, number, timestamp, payload) {
  const header = Buffer.alloc(12);
  header[0] = 0x80;
  header[1] = 0x80 | payloadType;
  header.writeUInt16BE(number & 0xffff, 2);
  header.writeUInt32BE(timestamp >>> 0, 4);
  header.writeUInt32BE(ssrc, 8);
  return Buffer.concat([header, payload]);
}

function frame(number) {
  const key = [0x10, 0x10, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
  const head = number % 30 === 0 ? key : [0x10, 0x11, 0x00, 0x00];
  return Buffer.concat([Buffer.from(head), Buffer.alloc(600, number & 255)]);
}

if (role === 'publish') {
  const answering = new library.RtcpNackResponder();
  void answering;
  let sound = 0;
  setInterval(() => {
    if (!videoTrack.isOpen()) return;
    const number = seen.frames++;
    videoTrack.sendMessageBinary(packet(96, 1111, number, number * 3000, frame(number)));
  }, 33);
  setInterval(() => {
    if (!audioTrack.isOpen()) return;
    audioTrack.sendMessageBinary(packet(111, 2222, sound, sound++ * 960, Buffer.alloc(60, 1)));
  }, 20);
} else {
  for (const track of [videoTrack, audioTrack]) {
    track.setMediaHandler(new library.RtcpReceivingSession());
  }
  videoTrack.onMessage((rtp) => {
    if (rtp[1] & 0x80 && (rtp[1] & 0x7f) === 96) {
      seen.frames += 1;
      seen.first_ms ??= Date.now() - started;
    }
  });
  audioTrack.onMessage(() => (seen.audio += 1));
}
const gathered = new Promise((done) => {
  peer.onGatheringStateChange((state) => state === 'complete' && done());
});
peer.setLocalDescription('offer');
await gathered;
const { sdp, session } = await post(peer.localDescription().sdp);
peer.setRemoteDescription(sdp, 'answer');
await report(session, () => ({ ...seen, state: peer.state() }));

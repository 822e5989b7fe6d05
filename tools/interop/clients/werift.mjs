// werift, WebRTC in TypeScript. It publishes numbered packets that look like VP8.

import { load, post, report, role, version } from './whip.mjs';

const werift = load('werift');
const { MediaStreamTrack, RTCPeerConnection, RtpHeader, RtpPacket, useOPUS, useVP8 } = werift;
const seen = { frames: 0, audio: 0, version: version('werift') };
const started = Date.now();
const peer = new RTCPeerConnection({ codecs: { audio: [useOPUS()], video: [useVP8()] } });

/** One frame in one packet; every thirtieth is a key frame of 640x360. */
function frame(number) {
  const key = [0x10, 0x10, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
  const head = number % 30 === 0 ? key : [0x10, 0x11, 0x00, 0x00];
  return Buffer.concat([Buffer.from(head), Buffer.alloc(600, number & 255)]);
}

function packet(number, timestamp, payload) {
  const header = new RtpHeader({
    sequenceNumber: number & 0xffff, timestamp: timestamp >>> 0, payloadType: 96, marker: true,
  });
  return new RtpPacket(header, payload);
}

if (role === 'publish') {
  const video = new MediaStreamTrack({ kind: 'video' });
  const audio = new MediaStreamTrack({ kind: 'audio' });
  peer.addTransceiver(video, { direction: 'sendonly' });
  peer.addTransceiver(audio, { direction: 'sendonly' });
  let sound = 0;
  setInterval(() => {
    video.writeRtp(packet(seen.frames, seen.frames * 3000, frame(seen.frames)));
    seen.frames += 1;
  }, 33);
  setInterval(() => audio.writeRtp(packet(sound, sound++ * 960, Buffer.alloc(60, 1))), 20);
} else {
  for (const kind of ['video', 'audio']) peer.addTransceiver(kind, { direction: 'recvonly' });
  peer.onTrack.subscribe((track) => {
    track.onReceiveRtp.subscribe((rtp) => {
      if (track.kind === 'audio') seen.audio += 1;
      else if (rtp.header.marker) {
        seen.frames += 1;
        seen.first_ms ??= Date.now() - started;
      }
    });
  });
}
await peer.setLocalDescription(await peer.createOffer());
const { sdp, session } = await post(peer.localDescription.sdp);
await peer.setRemoteDescription({ type: 'answer', sdp });
await report(session, () => ({ ...seen, state: peer.connectionState }));

// Offers, answers and headers, read and changed.

import { Problem } from "./problem.js";

// Codecs this browser can send, as `codec` names them.
export function sendableCodecs() {
  const known = ["VP8", "H264", "VP9", "AV1"];
  const able = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  return known.filter((name) => able.some((c) => sameCodec(c, name)));
}

// An explicit choice is offered alone (with its repair stream): an answer may not turn to another.
// Of H.264's profiles constrained baseline comes first, the one every browser decodes.
export function preferCodec(transceiver, name) {
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const chosen = codecs.filter((c) => sameCodec(c, name));
  if (!chosen.length) {
    throw new Problem(`This browser cannot send ${name}.`, { code: "unsupported", retry: false });
  }
  const rank = (c) => (/profile-level-id=42e0/i.test(c.sdpFmtpLine ?? "") ? 0 : 1);
  chosen.sort((a, b) => rank(a) - rank(b));
  transceiver.setCodecPreferences([...chosen, ...codecs.filter((c) => sameCodec(c, "rtx"))]);
}

// Has frames say which others they need, where the browser can (Chromium offers it when asked):
// spatial layers of AV1 can't be decoded without, nor its frames be left out.
export function describeFrames(transceiver) {
  const known = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
  const descriptor = known.find(({ uri }) => uri.includes("#dependency-descriptor-"));
  if (!descriptor || descriptor.direction === "sendrecv") return;
  descriptor.direction = "sendrecv";
  transceiver.setHeaderExtensionsToNegotiate(known);
}

function sameCodec(codec, name) {
  return codec.mimeType.toLowerCase() === `video/${name.toLowerCase()}`;
}

// The port that an answer names first, in words: what a firewall's owner has to look for.
export function serverPort(answer) {
  const candidate = answer.match(/^a=candidate:\S+ 1 udp \d+ (\S+) (\d+)/im);
  return candidate ? `UDP port ${candidate[2]} of ${candidate[1]}` : "its UDP port";
}

// STUN and TURN servers in Link headers (RFC 9725 §4.6), which fetch joins with commas.
export function iceServersOf(links) {
  const servers = [];
  for (const [, urls, rest] of links.matchAll(/<((?:stun|turn)s?:[^>]*)>([^<]*)/g)) {
    const parameters = [...rest.matchAll(/([\w-]+)="([^"]*)"/g)].map((m) => m.slice(1));
    const said = Object.fromEntries(parameters);
    if (said.rel !== "ice-server") continue;
    const { username, credential } = said;
    servers.push(username ? { urls, username, credential } : { urls });
  }
  return servers;
}

// Asks for both channels of Opus (RFC 7587 §7), and says that both are sent.
export function withStereo(sdp, sends) {
  const wanted = sends ? ["stereo=1", "sprop-stereo=1"] : ["stereo=1"];
  const opus = /a=rtpmap:(\d+) opus\/48000\/2\r\n(a=(?:rtcp-fb|fmtp):\1 .*\r\n)*/gi;
  return sdp.replace(opus, (lines, type) => {
    const fmtp = lines.match(/a=fmtp:.*/i)?.[0];
    if (!fmtp) return `${lines}a=fmtp:${type} ${wanted.join(";")}\r\n`;
    const missing = wanted.filter((one) => !fmtp.split(/[ ;]/).includes(one));
    return lines.replace(fmtp, [fmtp, ...missing].join(";"));
  });
}

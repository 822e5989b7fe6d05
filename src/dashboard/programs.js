// Ready lines for other programs, to publish and to watch, each with a button that copies it.

import { $, copy } from "./page.js";

// What stands for the token where the line is shown; what is copied has the token itself.
const TOKEN = "TOKEN";
const TEST_PICTURE = "-f lavfi -i testsrc=size=1280x720:rate=30 -f lavfi -i sine";
// YUV 4:2:0: of testsrc's own colours H.264's baseline profile has none. Without B-frames, which
// WebRTC does not show in order, and a key frame each second, for those who join.
const H264 = "-c:v libx264 -pix_fmt yuv420p -profile:v baseline -bf 0 -g 30 -tune zerolatency";
const OPUS = "-c:a libopus -ar 48000 -ac 2";

// Programs, each with its lines `{ label, text }`, for a stream at this WHIP endpoint.
export function programs(whip, token) {
  return [
    {
      name: "OBS",
      note: "30 or later: Settings, Stream, Service WHIP; keyframe interval 1 s.",
      lines: [
        { label: "Server", text: whip },
        ...(token ? [{ label: "Bearer token", text: token }] : []),
      ],
    },
    {
      name: "ffmpeg",
      note: "8.0 or later, built with WHIP. Put your input in place of the test picture.",
      lines: [{ label: "Command", text: ffmpeg(whip, token) }],
    },
    {
      name: "GStreamer",
      note: "With whipsink of gst-plugins-rs.",
      lines: [{ label: "Command", text: gstreamer(whip, token) }],
    },
  ];
}

// Without `-whip_flags`, which 8.0 does not know, and no version needs here.
function ffmpeg(whip, token) {
  const access = token ? `-authorization ${quoted(token)} ` : "";
  return `ffmpeg -re ${TEST_PICTURE} ${H264} ${OPUS} ${access}-f whip ${quoted(whip)}`;
}

function gstreamer(whip, token) {
  const access = token ? ` auth-token=${quoted(token)}` : "";
  return "gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=1280,height=720 ! " +
    "vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay ! whip.sink_0 " +
    "audiotestsrc is-live=true ! audioconvert ! opusenc ! rtpopuspay ! whip.sink_1 " +
    `whipsink name=whip whip-endpoint=${quoted(whip)}${access}`;
}

// As one word of a shell, whatever is in it.
function quoted(text) {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

// Fills `root` with the programs' lines.
export function showPrograms(root, whip, token) {
  const shown = programs(whip, token && TOKEN);
  const meant = programs(whip, token);
  const parts = shown.map(({ name, note, lines }, i) => {
    const part = root.children[i] ?? root.appendChild(programPart(name, note));
    showLines($("dl", part), lines.map((line, j) => {
      return { ...line, copied: meant[i].lines[j].text, about: name };
    }));
    return part;
  });
  root.replaceChildren(...parts);
}

function programPart(name, note) {
  const part = document.createElement("div");
  part.className = "program";
  const [title, said] = [document.createElement("h3"), document.createElement("p")];
  title.textContent = name;
  said.className = "remark";
  said.textContent = note;
  part.append(title, said, document.createElement("dl"));
  $("dl", part).className = "lines";
  return part;
}

// Fills a list with lines `{ label, text, copied, about }`.
export function showLines(root, lines) {
  while (root.childElementCount < lines.length) root.append(lineRow());
  while (root.childElementCount > lines.length) root.lastElementChild.remove();
  lines.forEach(({ label, text, copied = text, about = "" }, i) => {
    const row = root.children[i];
    const button = $("button", row);
    $("dt", row).textContent = label;
    $("code", row).textContent = text;
    button.setAttribute("aria-label", ["Copy", about, label.toLowerCase()].join(" "));
    button.onclick = () => copy(button, copied);
  });
}

function lineRow() {
  const row = document.createElement("div");
  const [term, data] = [document.createElement("dt"), document.createElement("dd")];
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy";
  data.append(document.createElement("code"), button);
  row.append(term, data);
  return row;
}

// What can be published: a camera, a screen, the test pattern.

import { Problem } from "./monoport.js";
import { Pattern } from "./pattern.js";

const REFUSED =
  "The browser was not allowed to use the camera or the microphone. Allow them for this page, by " +
  "the sign beside its address, and start again.";
const BUSY = "Another program uses the camera or the microphone. Close it there.";
const INSECURE =
  "The browser gives cameras, microphones and screens to https pages and to localhost only. Open " +
  "this page there, or publish the test pattern.";

// Opens a source: `{ stream, stop, sharp, remark }`. A sharp one keeps its size at any bitrate, or
// its letters could not be read. Options: `camera` and `microphone`, ids of devices or "" for the
// browser's choice (`microphone` may be "none"), `music`, `width`, `height`, `label`.
//
// Nothing steps in for what is not there: a Problem of the code "missing" says what that is.
export async function open(source, options) {
  if (source === "pattern") {
    const pattern = new Pattern(options);
    return { stream: pattern.stream, stop: () => pattern.stop(), sharp: true };
  }
  if (!navigator.mediaDevices) throw problem(INSECURE, "insecure");
  return source === "screen" ? openScreen(options) : openCamera(options);
}

async function openCamera({ camera = "", microphone = "", music = false, width, height }) {
  const video = { ...picture(width, height), ...device(camera) };
  const audio = microphone === "none" ? false : { ...soundOf(music), ...device(microphone) };
  try {
    return opened(await navigator.mediaDevices.getUserMedia({ video, audio }));
  } catch (error) {
    if (error.name !== "NotFoundError") throw spoken(error);
  }
  // One of the two is not there, and the browser does not say which.
  const stream = audio && (await navigator.mediaDevices.getUserMedia({ video }).catch(() => null));
  if (stream) return opened(stream, "No microphone was found: this goes out without sound.");
  throw problem(
    "No camera was found. Connect one and start again, or choose what to publish instead.",
    "missing",
  );
}

// The sound of what is shared, where the browser gives it, else the microphone's.
async function openScreen({ microphone = "", music = false, width, height }) {
  if (!navigator.mediaDevices.getDisplayMedia) {
    throw problem("This browser can't share a screen.", "missing");
  }
  const { frameRate } = picture(width, height);
  const video = { frameRate, width: { max: width ?? 1280 }, height: { max: height ?? 720 } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ video, audio: true });
  } catch (error) {
    const closed = error.name === "NotAllowedError";
    throw closed ? problem("No screen was chosen.", "refused") : spoken(error);
  }
  for (const track of stream.getVideoTracks()) track.contentHint = "detail";
  if (stream.getAudioTracks().length || microphone === "none") return opened(stream, "", true);
  const audio = { ...soundOf(music), ...device(microphone) };
  const voice = await navigator.mediaDevices.getUserMedia({ audio }).catch(() => null);
  for (const track of voice?.getAudioTracks() ?? []) stream.addTrack(track);
  const remark = voice ? "" : "There is no microphone to use: this goes out without sound.";
  return opened(stream, remark, true);
}

// Sound alone, for who has no camera and wants none.
export async function openSound({ microphone = "", music = false }) {
  try {
    const audio = { ...soundOf(music), ...device(microphone) };
    return opened(await navigator.mediaDevices.getUserMedia({ audio }));
  } catch (error) {
    if (error.name !== "NotFoundError") throw spoken(error);
    throw problem("No microphone was found either.", "missing");
  }
}

// Devices by kind, as `{ id, label }`; browsers name them once they may be used.
export async function devices(kind) {
  const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  return all
    .filter((one) => one.kind === kind && one.deviceId && one.deviceId !== "default" && one.label)
    .map(({ deviceId, label }) => ({ id: deviceId, label }));
}

function opened(stream, remark = "", sharp = false) {
  return { stream, stop: () => stream.getTracks().forEach((track) => track.stop()), remark, sharp };
}

function picture(width = 1280, height = 720) {
  return { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
}

// Filters for voices take music apart, and make one channel of two.
function soundOf(music) {
  if (!music) return {};
  return {
    channelCount: { ideal: 2 },
    echoCancellation: false,
    noiseSuppression: false,
    autoGainControl: false,
  };
}

function device(id) {
  return id ? { deviceId: { exact: id } } : {};
}

function spoken(error) {
  const known = {
    NotAllowedError: [REFUSED, "refused"],
    NotReadableError: [BUSY, "busy"],
    OverconstrainedError: ["The chosen camera or microphone is gone. Choose another.", "missing"],
  };
  const [text, code] = known[error.name] ?? [error.message, "refused"];
  return problem(text, code);
}

function problem(text, code) {
  return new Problem(text, { code, retry: false });
}

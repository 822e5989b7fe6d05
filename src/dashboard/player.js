// The player, alone in a window (`/watch/NAME`) or in a frame of any page (`/embed/NAME`).
//
// Its address chooses: `controls=0`, `muted=1`, `autoplay=0`; a token goes behind `#token=`.
// `window.monoport` is the same page for programs: `watch(options)`, `stop()`, `stats()` and
// `choose({ encodingId })`.

import { watch as watchFrom } from "./monoport.js";
import { $, Panel, SERVER, askForToken, storeToken, storedToken, takeToken } from "./page.js";

// Buttons give way to the picture when nobody has moved for so long.
const IDLE_MS = 3000;

// Why a layer does not come.
const ABSENCES = {
  silent: "not sent at present",
  withheld: "no room on the way here",
};

const root = $("#watch");
const panel = new Panel("watch", root);
const { video } = panel;
const asked = new URLSearchParams(location.search);
const isOn = (name, otherwise) => {
  const value = asked.get(name);
  return value === null ? otherwise : !["0", "false", "no"].includes(value);
};
let stream = decodeURIComponent(location.pathname.split("/").pop());
let idle = 0;

// Resolves once it plays. Options: `stream`, another than the address has, and `muted`.
async function watch(options = {}) {
  if (options.stream) stream = options.stream;
  if (options.muted !== undefined) video.muted = options.muted;
  showName();
  $("#play").hidden = true;
  askForToken($("#token-form"), null);
  const session = watchFrom({ server: SERVER, stream, video, token: storedToken() });
  session.addEventListener("layers", ({ detail }) => showLayers(detail));
  const live = panel.start(session);
  showRunning(true);
  await live;
}

function stop() {
  panel.stop();
  showRunning(false);
}

function showRunning(isRunning) {
  $("#stop").setAttribute("aria-label", isRunning ? "Stop" : "Play");
  $("#stop").dataset.on = String(isRunning);
  $("#play").hidden = isRunning || !$("#token-form").hidden;
}

function showName() {
  $("#title").textContent = stream;
  document.title = `${stream} – monoport`;
  $("#in-dashboard").href = new URL(`dashboard#stream=${encodeURIComponent(stream)}`, SERVER);
}

// Browsers let a page that nobody has touched make no sound: then the picture plays without, and a
// button is shown that turns it on.
async function play() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError" || video.muted) return;
    video.muted = true;
    $("#unmute").hidden = false;
    await video.play().catch(() => {});
  }
}

// The choice is there where there is one. A layer is called by its height, else by what it sends,
// and by its frames a second where it has fewer of them: of one picture, that is the choice. One
// that does not come can't be chosen, and says why.
function showLayers({ layers, inactive }) {
  const field = $("#layer");
  const chosen = field.value;
  const all = [...layers, ...inactive].sort((one, other) => one.spatialLayerId - other.spatialLayerId);
  const options = all.flatMap((layer) => {
    const { encodingId, temporalLayers = [], reason } = layer;
    const fewer = all.length > 1 ? [] : temporalLayers.map(({ temporalLayerId, framesPerSecond }) => {
      const wish = JSON.stringify({ encodingId, temporalLayerId });
      return new Option(`${layerName(layer)}, ${framesPerSecond} frames a second`, wish);
    });
    const words = reason ? `: ${ABSENCES[reason] ?? reason}` : "";
    const option = new Option(layerName(layer) + words, JSON.stringify({ encodingId }));
    option.disabled = Boolean(reason);
    return [...fewer, option];
  });
  field.replaceChildren(new Option("Automatic", "{}"), ...options.reverse());
  field.value = [...field.options].some(({ value }) => value === chosen) ? chosen : "{}";
  $("#layer-field").hidden = options.length < 2;
}

function layerName({ encodingId, height, bitrate }) {
  if (height) return `${height}p`;
  return bitrate ? `${Math.round(bitrate / 1e3)} kb/s` : encodingId;
}

async function chooseLayer({ target }) {
  try {
    await choose(JSON.parse(target.value));
  } catch ({ message }) {
    target.value = "{}";
    panel.say("remark", message);
  }
}

async function choose(wish) {
  await panel.session.chooseLayer(wish);
}

function showSound() {
  const { muted, volume } = video;
  const isHeard = !muted && volume > 0;
  $("#mute").setAttribute("aria-label", isHeard ? "Mute" : "Turn sound on");
  $("#mute").dataset.on = String(isHeard);
  $("#volume").value = String(Math.round(muted ? 0 : 100 * volume));
  if (isHeard) $("#unmute").hidden = true;
}

function turnSound(isOnNow) {
  video.muted = !isOnNow;
  if (isOnNow && video.volume === 0) video.volume = 1;
}

// On a telephone the picture fills the screen where the whole page may not.
function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (root.requestFullscreen) root.requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.();
}

async function pictureInPicture() {
  try {
    if (document.pictureInPictureElement) await document.exitPictureInPicture();
    else await video.requestPictureInPicture();
  } catch {
    panel.say("remark", "The browser does not open a small picture now.");
  }
}

function wireSound() {
  video.addEventListener("volumechange", showSound);
  $("#mute").addEventListener("click", () => turnSound(video.muted || video.volume === 0));
  $("#unmute").addEventListener("click", () => turnSound(true));
  $("#volume").addEventListener("input", ({ target }) => {
    video.volume = target.valueAsNumber / 100;
    video.muted = video.volume === 0;
  });
}

function wireButtons() {
  for (const id of ["stop", "play"]) {
    $(`#${id}`).addEventListener("click", () => {
      if (panel.session) stop();
      else watch().catch(() => {});
    });
  }
  $("#fullscreen").addEventListener("click", fullscreen);
  $("#layer").addEventListener("change", chooseLayer);
  $("#pip").addEventListener("click", pictureInPicture);
  $("#pip").hidden = !document.pictureInPictureEnabled;
  $("#numbers").addEventListener("click", ({ currentTarget }) => {
    const sheet = $("#sheet");
    sheet.hidden = !sheet.hidden;
    currentTarget.setAttribute("aria-expanded", String(!sheet.hidden));
  });
  $("#token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    storeToken($("#token").value);
    watch().catch(() => {});
  });
}

function wire() {
  wireSound();
  wireButtons();
  video.addEventListener("loadedmetadata", play);
  root.addEventListener("failed", ({ detail: problem }) => {
    askForToken($("#token-form"), problem);
    showRunning(false);
  });
  for (const sign of ["pointermove", "pointerdown", "keydown", "focusin"]) {
    addEventListener(sign, stir, { passive: true });
  }
  stir();
}

function stir() {
  clearTimeout(idle);
  root.classList.remove("idle");
  idle = setTimeout(() => root.classList.add("idle"), IDLE_MS);
}

async function stats() {
  return { publish: null, watch: await panel.sample() };
}

window.monoport = { watch, stop, stats, choose };
takeToken("watch");
video.muted = isOn("muted", false);
root.classList.toggle("bare", !isOn("controls", true));
root.classList.toggle("framed", window.parent !== window);
wire();
showName();
showSound();
if (isOn("autoplay", true)) watch().catch(() => {});
else showRunning(false);

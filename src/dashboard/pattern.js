// The test pattern: a drawn picture and a tone, for machines without a camera and for tests.
//
// The picture moves everywhere and is textured, so that an encoder has honest work to do. It shows
// the wall clock and a frame counter, so that delay can be read off two screens side by side, and
// flashes with an audible pip at each full second, so that lip sync can be judged.

const BARS = ["#d9dce1", "#d8b93c", "#3fb3b0", "#4fa95a", "#a85aa6", "#c24a4a", "#4a64b8"];

export class Pattern {
  #canvas = document.createElement("canvas");
  #ink;
  #texture;
  #worker = new Worker(new URL("./ticker.js", import.meta.url));
  #audio = null;
  #pipGain = null;
  #frame = 0;
  #lastSecond = 0;
  #label;
  #wake = () => this.#audio?.resume();

  constructor({ width = 1280, height = 720, fps = 30, label = "" } = {}) {
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#ink = this.#canvas.getContext("2d", { alpha: false });
    this.#texture = drawTexture(256);
    this.#label = label;
    this.#draw();
    this.stream = this.#canvas.captureStream(fps);
    this.#worker.onmessage = () => this.#draw();
    this.#worker.postMessage(1000 / fps);
    this.stream.addTrack(this.#startTone());
  }

  stop() {
    this.#worker.terminate();
    for (const track of this.stream.getTracks()) track.stop();
    for (const gesture of ["pointerdown", "keydown"]) removeEventListener(gesture, this.#wake);
    this.#audio.close();
  }

  // A quiet 440 Hz tone, and an octave above it the pip of each full second. A page that starts by
  // itself may not make sound yet: the first key or tap wakes it.
  #startTone() {
    const audio = new AudioContext();
    const out = audio.createMediaStreamDestination();
    const voice = (frequency, level) => {
      const oscillator = new OscillatorNode(audio, { frequency });
      const gain = new GainNode(audio, { gain: level });
      oscillator.connect(gain).connect(out);
      oscillator.start();
      return gain.gain;
    };
    voice(440, 0.06);
    this.#pipGain = voice(880, 0);
    this.#audio = audio;
    for (const gesture of ["pointerdown", "keydown"]) addEventListener(gesture, this.#wake);
    audio.resume();
    return out.stream.getAudioTracks()[0];
  }

  #pip() {
    if (!this.#audio) return;
    const now = this.#audio.currentTime;
    this.#pipGain.cancelScheduledValues(now);
    this.#pipGain.setValueAtTime(0.35, now);
    this.#pipGain.exponentialRampToValueAtTime(0.001, now + 0.12);
    this.#pipGain.setValueAtTime(0, now + 0.13);
  }

  #draw() {
    const { width: w, height: h } = this.#canvas;
    const ink = this.#ink;
    const now = new Date();
    const phase = now.getMilliseconds() / 1000;
    const second = Math.floor(now / 1000);
    if (second !== this.#lastSecond) this.#pip();
    this.#lastSecond = second;
    this.#frame += 1;

    this.#drawGround(w, h);
    drawDial(ink, w * 0.2, h * 0.46, h * 0.21, phase);
    ink.textBaseline = "middle";
    ink.textAlign = "left";
    ink.fillStyle = "#f4f6f8";
    ink.font = `600 ${h * 0.135}px ui-monospace, "DejaVu Sans Mono", monospace`;
    ink.fillText(clock(now), w * 0.36, h * 0.41, w * 0.58);
    ink.font = `400 ${h * 0.05}px system-ui, "DejaVu Sans", sans-serif`;
    ink.fillStyle = "#b9c4cf";
    const facts = `frame ${this.#frame}   ${w}×${h}   ${this.#label}`;
    ink.fillText(facts, w * 0.363, h * 0.55, w * 0.58);
  }

  // Slowly drifting grain under a wave of light, and the colour bars with a mark that runs along.
  #drawGround(w, h) {
    const ink = this.#ink;
    const drift = this.#frame * 2;
    ink.fillStyle = "#16202b";
    ink.fillRect(0, 0, w, h);
    ink.save();
    ink.translate(-(drift % 256), -((drift >> 1) % 256));
    ink.fillStyle = ink.createPattern(this.#texture, "repeat");
    ink.fillRect(0, 0, w + 512, h + 512);
    ink.restore();
    const x = w * (0.5 + 0.45 * Math.sin(this.#frame / 45));
    const glow = ink.createRadialGradient(x, h * 0.3, 0, x, h * 0.3, w * 0.5);
    glow.addColorStop(0, "rgb(40 150 135 / 0.55)");
    glow.addColorStop(1, "rgb(40 150 135 / 0)");
    ink.fillStyle = glow;
    ink.fillRect(0, 0, w, h);
    const step = w / BARS.length;
    BARS.forEach((colour, i) => {
      ink.fillStyle = colour;
      ink.fillRect(Math.floor(i * step), h * 0.84, Math.ceil(step), h * 0.16);
    });
    ink.fillStyle = "#0b1016";
    ink.fillRect((this.#frame * w / 150) % w, h * 0.84, w / 100, h * 0.16);
  }
}

// One turn a second; the face lights up at the top of it, together with the pip.
function drawDial(ink, x, y, radius, phase) {
  ink.save();
  ink.translate(x, y);
  ink.lineWidth = radius * 0.06;
  ink.fillStyle = phase < 0.1 ? "#f4f6f8" : "rgb(11 16 22 / 0.55)";
  ink.strokeStyle = "#dfe6ec";
  ink.beginPath();
  ink.arc(0, 0, radius, 0, 2 * Math.PI);
  ink.fill();
  ink.stroke();
  ink.beginPath();
  ink.moveTo(0, 0);
  ink.arc(0, 0, radius * 0.9, -Math.PI / 2, phase * 2 * Math.PI - Math.PI / 2);
  ink.closePath();
  ink.fillStyle = "rgb(63 200 178 / 0.85)";
  ink.fill();
  ink.restore();
}

function drawTexture(size) {
  const tile = new OffscreenCanvas(size, size);
  const ink = tile.getContext("2d");
  const image = ink.createImageData(size, size);
  for (let i = 0; i < image.data.length; i += 4) {
    const shade = 120 + Math.random() * 110;
    image.data.set([shade, shade, shade, 26], i);
  }
  ink.putImageData(image, 0, 0);
  return tile;
}

function clock(date) {
  const two = (n) => String(n).padStart(2, "0");
  const hms = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return `${hms}.${two(Math.floor(date.getMilliseconds() / 10))}`;
}

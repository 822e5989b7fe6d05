// A browser with a camera it makes up, by the code of a page that knows nothing of this server. As
// `layers` it is the publisher of a test and no client under test: the server's own page sends three
// sizes of a picture that keeps an encoder busy.

import { entry, role, seconds, sleep, url } from './whip.mjs';

const name = process.env.INTEROP_NAME;
const puppeteer = (await import(entry('puppeteer-core'))).default;
const args = name === 'chromium'
  ? ['--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
     '--disable-features=WebRtcHideLocalIpsWithMdns', '--autoplay-policy=no-user-gesture-required']
  : [];
const browser = await puppeteer.launch({
  browser: name === 'firefox' ? 'firefox' : 'chrome',
  executablePath: process.env.INTEROP_BROWSER,
  headless: true,
  args,
  extraPrefsFirefox: {
    'media.navigator.streams.fake': true,
    'media.navigator.permission.disabled': true,
    'media.peerconnection.ice.obfuscate_host_addresses': false,
    'media.peerconnection.ice.loopback': true,
    'media.autoplay.default': 0,
  },
});
const version = (await browser.version()).replace(/^.*\//, '');
const page = await browser.newPage();
page.on('console', (line) => console.error(line.text()));
await page.goto(new URL(role === 'layers' ? '/publish' : '/healthz', url).href);

/** Runs in the page. */
async function start(role, url) {
  const peer = (window.peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' }));
  window.started = performance.now();
  if (role === 'publish') {
    const wanted = { audio: true, video: { width: 640, height: 360 } };
    const camera = await navigator.mediaDevices.getUserMedia(wanted);
    for (const track of camera.getTracks()) {
      peer.addTransceiver(track, { direction: 'sendonly', streams: [camera] });
    }
  } else {
    const video = document.createElement('video');
    const stream = new MediaStream();
    Object.assign(video, { muted: true, autoplay: true, srcObject: stream });
    document.body.append(video);
    window.video = video;
    window.frozen = 0;
    // As getStats() counts freezes, for browsers that do not: a picture stands for three times as
    // long as those of the last second, and 150 ms longer.
    const gaps = [];
    let last = 0;
    const shown = (now) => {
      const gap = last ? now - last : 0;
      const usual = gaps.reduce((sum, one) => sum + one, 0) / (gaps.length || 1);
      if (gaps.length > 9 && gap > Math.max(3 * usual, usual + 150)) window.frozen += gap;
      if (last) gaps.push(gap);
      if (gaps.length > 30) gaps.shift();
      last = now;
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
    peer.ontrack = ({ track }) => stream.addTrack(track);
    for (const kind of ['video', 'audio']) peer.addTransceiver(kind, { direction: 'recvonly' });
  }
  await peer.setLocalDescription(await peer.createOffer());
  for (let waited = 0; peer.iceGatheringState !== 'complete' && waited < 40; waited++) {
    await new Promise((done) => setTimeout(done, 50));
  }
  const headers = { 'Content-Type': 'application/sdp' };
  const body = peer.localDescription.sdp;
  const answer = await fetch(url, { method: 'POST', headers, body });
  const sdp = await answer.text();
  if (answer.status !== 201) throw new Error(`${answer.status}: ${sdp}`);
  window.session = new URL(answer.headers.get('location'), url).href;
  await peer.setRemoteDescription({ type: 'answer', sdp });
}

/** Runs in the page. */
async function progress(role) {
  const seen = { frames: 0, audio: 0, state: window.peer.connectionState };
  for (const report of (await window.peer.getStats()).values()) {
    if (report.type === 'inbound-rtp' && report.kind === 'video') {
      seen.frames = report.framesDecoded ?? 0;
    } else if (report.type === 'outbound-rtp' && report.kind === 'video') {
      seen.frames = report.framesSent ?? report.framesEncoded ?? 0;
    }
  }
  if (role === 'watch' && seen.frames > 0) {
    window.first ??= performance.now() - window.started;
    seen.first_ms = window.first;
    seen.width = window.video.videoWidth;
    seen.frozen_ms = Math.round(window.frozen);
  }
  return seen;
}

/** Runs in the server's page for publishing. */
function layers(stream) {
  const picture = { source: 'pattern', codec: 'VP8', width: 960, height: 540 };
  window.monoport.publish({ stream, ...picture, simulcast: true, maxBitrate: 2_500_000 });
}

if (role === 'layers') {
  await page.evaluate(layers, url.split('/').pop());
  await sleep(Number(seconds) * 1000);
  await browser.close();
  process.exit();
}

try {
  await page.evaluate(start, role, url);
  for (let tick = 0; tick < Number(seconds) * 5; tick++) {
    await sleep(200);
    console.log(JSON.stringify({ ...(await page.evaluate(progress, role)), version }));
  }
  await page.evaluate(() => fetch(window.session, { method: 'DELETE' }));
} catch (error) {
  console.error(String(error));
} finally {
  await browser.close();
}

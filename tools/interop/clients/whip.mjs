// What a WHIP or WHEP client does over HTTP, and where installed packages are.

import { createRequire } from 'node:module';
import path from 'node:path';
import { readFileSync } from 'node:fs';

const modules = process.env.INTEROP_MODULES;
const require = createRequire(path.join(modules, 'package.json'));

/** Loads an installed package by where its name leads. */
export const load = (name) => require(name);
export const entry = (name) => require.resolve(name);
export const version = (name) =>
  JSON.parse(readFileSync(path.join(modules, name, 'package.json'), 'utf8')).version;

export const [role, url, seconds] = process.argv.slice(2);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Posts an offer, again while the stream is not there yet. */
export async function post(offer) {
  for (let attempt = 0; attempt < 20; attempt++) {
    const headers = { 'Content-Type': 'application/sdp' };
    const answer = await fetch(url, { method: 'POST', headers, body: offer });
    const text = await answer.text();
    if (answer.status === 201) {
      return { sdp: text, session: new URL(answer.headers.get('location'), url).href };
    }
    const absent = answer.status === 404 || answer.status === 409;
    if (!absent) throw new Error(`${answer.status}: ${text.slice(0, 200)}`);
    await sleep(250);
  }
  throw new Error('the stream did not come');
}

/** Says each second how far it is, then leaves. */
export async function report(session, progress) {
  for (let second = 0; second < Number(seconds); second++) {
    await sleep(1000);
    console.log(JSON.stringify(await progress()));
  }
  await fetch(session, { method: 'DELETE' }).catch(() => {});
  process.exit(0);
}

/** What went wrong, in words for a person; `code` is for programs. */
export class Problem extends Error {
  /**
   * `token` (one is asked for), `wrong-token`, `forbidden` (to this token), `closed` (to all),
   * `absent` (nobody publishes it yet), `replaced` (another publisher took the stream), `kicked`
   * (an administrator ended it), `unreachable` (no answer), `blocked` (answered, but no media comes
   * through), `lost`, `unsupported` (by this browser), `refused`, `stopped`; pages may add others.
   */
  readonly code: string;
  /** Whether a session tries again by itself. */
  readonly retry: boolean;
  /** The HTTP status, or 0 where there was none. */
  readonly status: number;
}

/** `waiting` and `reconnecting` go on by themselves; `failed` and `stopped` are the end. */
export type State =
  "idle" | "connecting" | "live" | "waiting" | "reconnecting" | "failed" | "stopped";

export interface Common {
  /** The stream's name: 1 to 128 characters of `A-Z a-z 0-9 - _ . ~`. */
  stream: string;
  /** The server's URL with a slash at its end; where this module came from if not given. */
  server?: string | URL;
  /** Sent as a bearer token. */
  token?: string;
}

export interface PublishOptions extends Common {
  /** What is sent: a camera, a screen, a canvas. It stays yours: stop its tracks yourself. */
  media: MediaStream;
  /** One of `sendableCodecs()`; the browser's choice if not given. */
  codec?: string;
  /** Of the picture, in bits a second; of all layers together with simulcast. Else 2,500,000. */
  maxBitrate?: number;
  /** Three sizes at once: a quarter, a half and all of the picture. */
  simulcast?: boolean;
  /** Drop frames rather than make the picture smaller, as screens and slides want it. */
  keepSize?: boolean;
}

export interface WatchOptions extends Common {
  /** Where it is shown. Without, take `session.media` at the first `track` event. */
  video?: HTMLVideoElement;
  /** Whether to tell who speaks, by `speakers` events. */
  speakers?: boolean;
}

export interface SessionEventMap {
  state: CustomEvent<{ state: State; text: string }>;
  track: CustomEvent<{ track: MediaStreamTrack; media: MediaStream }>;
  layers: CustomEvent<{ layers: Layer[]; inactive: InactiveLayer[] }>;
  speakers: CustomEvent<{ speakers: Speaker[] }>;
}

/** An audio track of the stream in which somebody speaks, as its publisher says. */
export interface Speaker {
  /** Counts the stream's audio tracks. */
  track: number;
  /** Decibels relative to full scale: 0 is the loudest there is, and speech begins at -40. */
  level_dbov: number;
}

/** One size of a stream that is published in several. */
export interface Layer {
  encodingId: string;
  /** Its place among all, those that do not come included: 0 is the smallest. */
  spatialLayerId: number;
  bitrate: number;
  width: number | null;
  height: number | null;
  /** Whether it is the best there is. */
  active: boolean;
  /** With how many frames it can be had, the fewest first, where that can be fewer. */
  temporalLayers: { temporalLayerId: number; bitrate: number; framesPerSecond: number }[];
}

/** One that the stream has, and of which nothing comes at present. */
export interface InactiveLayer {
  encodingId: string;
  /** Its place among all: 0 is the smallest. */
  spatialLayerId: number;
  width: number | null;
  height: number | null;
  /**
   * `silent`: its publisher sends nothing of it. `withheld`: the way from the publisher's node to
   * the one that serves this viewer has no room for it.
   */
  reason: "silent" | "withheld";
}

/** One layer; or the smallest that has as much as `max…`; or, with nothing, whatever is best. */
export interface LayerWish {
  encodingId?: string;
  /** The layer by its place: 0 is the smallest. */
  spatialLayerId?: number;
  /** No more frames than up to this temporal layer: 0 has the fewest. */
  temporalLayerId?: number;
  maxWidth?: number;
  maxHeight?: number;
}

/** One stream, published or watched, that keeps itself up until `stop()`. */
export class Session extends EventTarget {
  readonly stream: string;
  readonly state: State;
  /** What ended it, once `state` is `failed`. */
  readonly problem: Problem | null;
  /** The connection, while there is one; another after each reconnect. */
  readonly pc: RTCPeerConnection | null;
  /** What is sent, or what arrives. */
  readonly media: MediaStream | null;
  /** Milliseconds from the request to the answer, to the connection, to the first picture. */
  readonly answeredMs: number | null;
  readonly connectedMs: number | null;
  readonly firstFrameMs: number | null;
  /** The layers of what is watched, the smallest first. */
  readonly layers: Layer[];
  /** Those of it that do not come at present, likewise. */
  readonly inactiveLayers: InactiveLayer[];
  /** Chooses the layer of what is watched, also after a reconnect. */
  chooseLayer(wish: LayerWish): Promise<void>;
  /** Ends it, and tells the server. */
  stop(): void;
  /** Asks whether the server still knows the session, and connects anew if it does not. */
  verify(): Promise<void>;
  addEventListener<K extends keyof SessionEventMap>(
    type: K,
    listener: (event: SessionEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** What `streams()` lists. */
export interface LiveStream {
  name: string;
  video: string | null;
  audio: string | null;
  /** Of the best layer, in pixels; null until a key frame has said it. */
  width: number | null;
  height: number | null;
  viewers: number;
  /** Seconds since its publisher came. */
  age_s: number;
}

/** Publishes `media` as `stream`. */
export function publish(options: PublishOptions): Session;

/** Watches `stream`. */
export function watch(options: WatchOptions): Session;

/** What is live, by name, 50 at most; `after` a name are the next, `name` asks for one. */
export function streams(options?: {
  server?: string | URL;
  token?: string;
  name?: string;
  after?: string;
}): Promise<LiveStream[]>;

/** Video codecs this browser can send, as `codec` names them. */
export function sendableCodecs(): string[];

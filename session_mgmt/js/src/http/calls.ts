/** Calls of a connection over HTTP (PROTOCOL section 16), and their failures. */

import { closeName } from "../codes";
import type { ErrorFields } from "../errors";
import type { ServerFrame } from "../frames";
import { dropAnswer, PORTAL_WAIT } from "../rest";
import { makeEnding, type Ending, type TransportHost } from "../transport";

export type CallName = "connections" | "poll" | "frames" | "leave";

/** Answer to a call, if it is not a stream. */
export interface Answer {
  frames: ServerFrame[];
  /** Seconds before the next poll. */
  nextIn: number;
  /** Length of its text in characters. */
  length: number;
}

const PATHS: Record<CallName, string> = {
  connections: "connections/",
  poll: "connections/poll/",
  frames: "connections/frames/",
  leave: "connections/leave/",
};
// Code that browsers give for a connection that ended without a close frame.
const CONNECTION_LOST = 1006;
const INTERNAL_ERROR = 1011;

export class CallFailure extends Error {
  /**
   * `refused`: the server refused. `lost`: there was no answer, so the effect is unknown. `foreign`: another server
   * answered, such as a portal, or CORS hides which server it was.
   */
  readonly kind: "refused" | "lost" | "foreign";
  readonly ending: Ending;
  readonly status: number;
  /** True if the attachment continues, and the same call may be sent again. */
  readonly isPassing: boolean;

  constructor(kind: CallFailure["kind"], status: number, ending: Ending, isPassing = false) {
    super(ending.name ?? kind);
    this.kind = kind;
    this.status = status;
    this.ending = ending;
    this.isPassing = isPassing;
  }
}

/** Return the failure of a call without an answer. */
export function makeLost(name = "network_error"): CallFailure {
  return new CallFailure("lost", 0, makeEnding(CONNECTION_LOST, name));
}

export class Calls {
  readonly #host: TransportHost;

  constructor(host: TransportHost) {
    this.#host = host;
  }

  /** Send a call; return the unread answer of the server. Throws a CallFailure. */
  async send(name: CallName, body: string, init: RequestInit = {}): Promise<Response> {
    const { rest, readEndpoints, readToken } = this.#host;
    const url = readEndpoints()[name] ?? PATHS[name];
    let response: Response;
    try {
      response = await rest.postText(url, body, readToken(), init);
    } catch {
      throw makeLost();
    }
    const isOurs = response.headers.get("X-Session-Mgmt") !== null;
    if (isOurs && response.ok) return response;
    if (isOurs) throw await readRefusal(response);
    dropAnswer(response);
    throw makeForeign(response);
  }

  /** Send a call; return the frames of the answer. Throws a CallFailure. */
  async ask(name: CallName, body: string, init: RequestInit = {}): Promise<Answer> {
    return readAnswer(await this.send(name, body, init));
  }
}

/** Return the frames of an answer. Throws a CallFailure if the answer is cut off. */
export async function readAnswer(response: Response): Promise<Answer> {
  try {
    const text = await response.text();
    const { frames, next_in: nextIn = 0 } = JSON.parse(text) as { frames: ServerFrame[]; next_in?: number };
    return { frames: frames.filter(isFrame), nextIn, length: text.length };
  } catch {
    throw makeLost();
  }
}

function isFrame(frame: unknown): frame is ServerFrame {
  return typeof (frame as ServerFrame | null)?.type === "string";
}

async function readRefusal(response: Response): Promise<CallFailure> {
  const fields = (await response.json().catch(() => ({}))) as ErrorFields & { close?: number; reconnect?: boolean };
  const { close = null, name = `http_${response.status}`, reconnect = null, retry_after, reason } = fields;
  const isTemporary = fields.temporary ?? response.status >= 500;
  const ending = {
    code: close ?? INTERNAL_ERROR,
    name: close === null ? name : closeName(close),
    retryAfter: retry_after ?? null,
    reconnect: reconnect ?? (close === null ? isTemporary : null),
    reason: typeof reason === "string" ? reason : null,
  };
  return new CallFailure("refused", response.status, ending, close === null && isTemporary);
}

/** Return the failure of a call whose answer lacks the server's header: a proxy or a portal has answered. */
function makeForeign({ status, type }: Response): CallFailure {
  if (status >= 500 || status === 429) return makeLost();
  // A portal does not let pages of another origin read its answers. So these CORS headers are the server's, and they do
  // not expose its header.
  const name = type === "cors" ? "header_not_exposed" : "not_our_server";
  return new CallFailure("foreign", status, makeEnding(CONNECTION_LOST, name, { retryAfter: PORTAL_WAIT }));
}

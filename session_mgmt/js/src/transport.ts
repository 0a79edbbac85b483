/** What carries the frames of one attachment: a WebSocket, or HTTP. The connection knows no other difference. */

import type { Environment } from "./environment";
import type { ByeFrame, Endpoints, Position, ServerFrame } from "./frames";
import type { Rest } from "./rest";

export type TransportName = "websocket" | "sse" | "longpoll";

/** What carries a client: a transport of its own, or `tab`, the connection of another tab. */
export type Carrier = TransportName | "tab";

/** End of a link; `retryAfter` in seconds if the server said it. */
export interface Ending {
  code: number;
  name: string | null;
  retryAfter: number | null;
  reconnect: boolean | null;
  /** Why, in one word, if the server said it. */
  reason: string | null;
}

/** Return an end, of which nobody has said more than this. */
export function makeEnding(code: number, name: string | null = null, said: Partial<Ending> = {}): Ending {
  return { code, name, retryAfter: null, reconnect: null, reason: null, ...said };
}

/** Return the end that a server has told. */
export function readBye({ code, name, retry_after: retryAfter, reconnect, reason }: ByeFrame): Ending {
  return { code, name, retryAfter, reconnect, reason: reason ?? null };
}

/** Return true for an end that no server has told: the network's, or that of something on the way. */
export function isLost({ code, name }: Ending): boolean {
  // A server that restarts, or has no room, says so.
  return name === null && code < 4000 && code !== 1012 && code !== 1013;
}

/** What a link asks of the connection that it carries, and tells it. */
export interface LinkPort {
  /** Return the first frame; called as late as possible, so that it contains what the page subscribed to meanwhile. */
  buildConnect(): object;
  handleFrame(frame: ServerFrame, length: number): void;
  /** Take the end; called once, and nothing comes after it. */
  handleEnd(ending: Ending): void;
  /** Return the place in a log after which the next entries must come; undefined if the log is not followed. */
  findPlace(log: string): Position | null | undefined;
  /** Return the highest number up to which every receipt has come. */
  readAcked(): number;
  /** Note the transport of this attachment, when it is there and whenever it becomes another. */
  tellTransport(name: Carrier): void;
  /** Note a round trip that was measured here, in milliseconds. */
  tellRoundTrip?(milliseconds: number): void;
  /** Tell that so many signs of life in a row did not come, where the link watches that itself. */
  tellMissed?(missed: number): void;
  /** Let go of the attachment, because another one of the same link follows at once: nothing is sent until `connected`. */
  beginSwitch(): void;
}

/** Attachment that is being opened, lives, or has ended. */
export interface Link {
  /** Send a frame; return the length of its text, or 0 if nothing can be sent here now. */
  sendFrame(frame: object): number;
  /** End it from this side at once; the port is told. */
  endWith(code: number, name?: string | null): void;
  /** End it without telling the port. */
  drop(code?: number): void;
  /** Make sure that it lives, if it watches that itself; without this the connection watches it. */
  checkLife?(): void;
}

/** What a client gives its transports. */
export interface TransportHost {
  env: Environment;
  rest: Rest;
  /** Return the addresses of the server, as it told them. */
  readEndpoints(): Endpoints;
  /** Return the token for a call, empty where a cookie goes with it. */
  readToken(): string;
  /** Return what only tabs of the same session and user have in common. */
  nameOwner(): string;
}

export interface Transport {
  /** Begin an attachment. Throws for an address that cannot be. */
  open(port: LinkPort): Link;
  /** Begin an attachment that only writes: it follows no log. */
  openWriter(port: LinkPort): Link;
  /** Let go of what outlives an attachment, until the next one begins. */
  rest?(): void;
}

/** Return the transport of a tab that shares one connection with others; `own`: its transport while it leads. */
export type Share = (host: TransportHost, own: Transport) => Transport;

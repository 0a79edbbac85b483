/**
 * Transports: each carries the frames of one attachment, over a WebSocket or HTTP. For the connection they are all
 * alike.
 */

import type { Environment } from "./environment";
import type { ByeFrame, Endpoints, Position, ServerFrame } from "./frames";
import type { Rest } from "./rest";

export type TransportName = "websocket" | "sse" | "longpoll";

/** Carrier of the frames: a transport of this client, or `tab` for the connection of another tab. */
export type Carrier = TransportName | "tab";

/** End of a link. `retryAfter` is in seconds, if the server told it. */
export interface Ending {
  code: number;
  name: string | null;
  retryAfter: number | null;
  reconnect: boolean | null;
  /** Reason in one word, if the server gave it. */
  reason: string | null;
}

/** Return an end with the given facts; the others are unknown. */
export function makeEnding(code: number, name: string | null = null, said: Partial<Ending> = {}): Ending {
  return { code, name, retryAfter: null, reconnect: null, reason: null, ...said };
}

/** Return the end that a `bye` frame announces. */
export function readBye({ code, name, retry_after: retryAfter, reconnect, reason }: ByeFrame): Ending {
  return { code, name, retryAfter, reconnect, reason: reason ?? null };
}

/** Return true for an end that no server announced: the network or a proxy caused it. */
export function isLost({ code, name }: Ending): boolean {
  // A server that restarts or is full says so with these codes.
  return name === null && code < 4000 && code !== 1012 && code !== 1013;
}

/** Calls of a link to its connection. */
export interface LinkPort {
  /** Return the first frame. Called as late as possible, so that the frame contains all subscriptions. */
  buildConnect(): object;
  handleFrame(frame: ServerFrame, length: number): void;
  /** Handle the end. It is called once, and nothing follows it. */
  handleEnd(ending: Ending): void;
  /** Return the position after which the next entries of a log must come; undefined if the log is not followed. */
  findPlace(log: string): Position | null | undefined;
  /** Return the highest number up to which all receipts have arrived. */
  readAcked(): number;
  /** Note the transport of this attachment, at its start and at each change. */
  tellTransport(name: Carrier): void;
  /** Note a round trip that the link has measured, in milliseconds. */
  tellRoundTrip?(milliseconds: number): void;
  /** Report that so many signs of life were missed in a row. Only a link that watches them itself calls this. */
  tellMissed?(missed: number): void;
  /** Note that another attachment of the same link follows at once. Nothing is sent until the next `connected`. */
  beginSwitch(): void;
}

/** Attachment: it opens, lives, and ends. */
export interface Link {
  /** Send a frame; return the length of its text, or 0 if nothing can be sent now. */
  sendFrame(frame: object): number;
  /** End the link from this side at once, and report it to the port. */
  endWith(code: number, name?: string | null): void;
  /** End the link without a report to the port. */
  drop(code?: number): void;
  /** Check that the link lives. Without this method the connection checks it. */
  checkLife?(): void;
}

/** Parts of a client that its transports need. */
export interface TransportHost {
  env: Environment;
  rest: Rest;
  /** Return the addresses that the server has told. */
  readEndpoints(): Endpoints;
  /** Return the token for a call; empty if a cookie is sent instead. */
  readToken(): string;
  /** Return a name that only tabs of the same session and user share. */
  nameOwner(): string;
}

export interface Transport {
  /** Begin an attachment. Throws if its address is invalid. */
  open(port: LinkPort): Link;
  /** Begin an attachment that only writes and follows no log. */
  openWriter(port: LinkPort): Link;
  /** Release what outlives an attachment, until the next one begins. */
  rest?(): void;
}

/** Return the transport of a tab that shares one connection with others. `own`: its transport while it leads. */
export type Share = (host: TransportHost, own: Transport) => Transport;

/** Return the key under which the browser stores what it knows about the way to a server. */
export function nameMemory({ rest }: TransportHost): string {
  return `session-mgmt:${rest.base}:transport`;
}

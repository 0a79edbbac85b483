/** Environment of a client. It is read at the start and not at import, so that a server can import the module. */

import type { PageLike } from "./page";
import { MemoryStore, type StoreLike } from "./storage";

export interface Clock {
  /** Milliseconds of the wall clock. A jump shows that the machine slept. */
  now(): number;
  setTimeout(callback: () => void, milliseconds: number): unknown;
  clearTimeout(handle: unknown): void;
}

export interface SocketLike {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketClass = new (url: string, protocols: string[]) => SocketLike;
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

export interface LocksLike {
  request(
    name: string,
    options: { signal?: AbortSignal; ifAvailable?: boolean; steal?: boolean },
    callback: (lock: unknown) => Promise<unknown>,
  ): Promise<unknown>;
}

export interface ChannelLike {
  onmessage: ((event: { data: unknown }) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** Replaceable parts of the environment; by default those of the page. */
export interface Surroundings {
  /** WebSocket class; null for none, so that HTTP carries the connection. */
  WebSocket?: unknown;
  fetch?: Fetch;
  /** Stores: `local` is shared by all tabs, `session` belongs to one tab. */
  storage?: { local?: StoreLike; session?: StoreLike };
  clock?: Clock;
  random?: () => number;
  locks?: LocksLike | null;
  BroadcastChannel?: (new (name: string) => ChannelLike) | null;
  page?: PageLike | null;
  indexedDB?: IDBFactory | null;
}

export interface Environment {
  /** WebSocket class; null where there is none, as in Node 20. */
  readonly Socket: SocketClass | null;
  readonly fetch: Fetch;
  readonly local: StoreLike;
  readonly session: StoreLike;
  readonly clock: Clock;
  readonly random: () => number;
  readonly locks: LocksLike | null;
  readonly Channel: (new (name: string) => ChannelLike) | null;
  readonly page: PageLike | null;
  readonly indexedDB: IDBFactory | null;
}

const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clearTimeout: (handle) => clearTimeout(handle as ReturnType<typeof setTimeout>),
};

export function readEnvironment(given: Surroundings): Environment {
  const Socket = given.WebSocket === undefined ? globalThis.WebSocket : given.WebSocket;
  return {
    Socket: (Socket as SocketClass | undefined) ?? null,
    fetch: given.fetch ?? ((url, init) => globalThis.fetch(url, init)),
    local: given.storage?.local ?? findOfPage(() => localStorage) ?? new MemoryStore(),
    session: given.storage?.session ?? findOfPage(() => sessionStorage) ?? new MemoryStore(),
    clock: given.clock ?? SYSTEM_CLOCK,
    random: given.random ?? Math.random,
    locks: given.locks === undefined ? findLocks() : given.locks,
    Channel: given.BroadcastChannel === undefined ? findOfPage(() => BroadcastChannel as never) : given.BroadcastChannel,
    page: given.page === undefined ? findOfPage(() => ({ window, document })) : given.page,
    indexedDB: given.indexedDB === undefined ? findOfPage(() => indexedDB) : given.indexedDB,
  };
}

function findLocks(): LocksLike | null {
  return typeof navigator === "undefined" ? null : ((navigator as { locks?: LocksLike }).locks ?? null);
}

/**
 * Return an object of the page; null where it is missing. Outside of a page always null: Node has globals with these
 * names too.
 */
function findOfPage<T>(find: () => T | undefined): T | null {
  try {
    // If the user blocks storage, reading the property throws.
    return typeof document === "undefined" ? null : (find() ?? null);
  } catch {
    return null;
  }
}

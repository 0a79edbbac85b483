/** Parts of the client that are loaded when they are needed. */

import { findAddress } from "./again";
import type * as Batch from "./batch";
import type * as Changes from "./changes/index";
import type * as Content from "./content";
import type * as Copies from "./copies";
import type * as Debug from "./debug";
import type { Unsubscribe } from "./emitter";
import { SessionError } from "./errors";
import type * as Http from "./http/index";
import type * as Outboxes from "./outboxes";
import type * as Requests from "./requests/index";
import type * as Sending from "./sending";
import type * as Substitutes from "./substitutes";
import type * as Tabs from "./tabs/index";

/** Part of the client, as an entry of the package such as `session-mgmt-client/http` exports it. */
export type Part = (shared: never) => object;

/** Load documents, topics and the way of writing. Throws `part_unavailable`. */
export function loadContent(): Promise<typeof Content> {
  return awaitPart(import("./content"));
}

/** Load what makes requests that few pages make. Throws `part_unavailable`. */
export function loadRequests(): Promise<typeof Requests> {
  return awaitPart(import("./requests/index"));
}

/** Load what keeps outboxes beyond their tabs. Throws `part_unavailable`. */
export function loadOutboxes(): Promise<typeof Outboxes> {
  return awaitPart(import("./outboxes"));
}

/** Load what takes changes of the session. Throws `part_unavailable`. */
export function loadChanges(): Promise<typeof Changes> {
  return awaitPart(import("./changes/index"));
}

/** Load what sends the writes of closed tabs. Throws `part_unavailable`. */
export function loadSending(): Promise<typeof Sending> {
  return awaitPart(import("./sending"));
}

/** Load what takes the place of Web Locks. Throws `part_unavailable`. */
export function loadSubstitutes(): Promise<typeof Substitutes> {
  return awaitPart(import("./substitutes"));
}

/** Load what keeps local copies. Throws `part_unavailable`. */
export function loadCopies(): Promise<typeof Copies> {
  return awaitPart(import("./copies"));
}

/** Load what gathers updates. Throws `part_unavailable`. */
export function loadBatch(): Promise<typeof Batch> {
  return awaitPart(import("./batch"));
}

/** Load what shares a connection between tabs. Throws `part_unavailable`. */
export function loadTabs(): Promise<typeof Tabs> {
  return awaitPart(import("./tabs/index"));
}

/** Load what carries a client over HTTP. Throws `part_unavailable`. */
export function loadHttp(): Promise<typeof Http> {
  return awaitPart(import("./http/index"));
}

/** Load the panel. Throws `part_unavailable`. */
export function loadDebug(): Promise<typeof Debug> {
  return awaitPart(import("./debug"));
}

/** Return true once it is known that the server has no parts of this version any more. */
export function arePartsGone(): boolean {
  return areGone;
}

/** Callbacks of those who want to know that the server has no parts of this version any more. */
const watchers = new Set<() => void>();
/** True for the whole page: its clients have the same files. */
let areGone = false;

/** Call back once it is known that the server has no parts of this version any more. */
export function watchParts(callback: () => void): Unsubscribe {
  watchers.add(callback);
  if (areGone) callback();
  return () => void watchers.delete(callback);
}

/** Ask for a part's file whether it is gone, or only the network is. Its error names it in most browsers. */
async function lookForFile(error: unknown): Promise<void> {
  const address = findAddress(error);
  if (!address || areGone) return;
  const { status } = await fetch(address, { method: "HEAD", cache: "no-store" });
  if (status !== 404 && status !== 410) return;
  areGone = true;
  for (const watcher of watchers) watcher();
}

/** Wait for a part. Throws `part_unavailable`; the next attempt loads it again. */
export async function awaitPart<Part>(part: Promise<Part>): Promise<Part> {
  try {
    return await part;
  } catch (error) {
    lookForFile(error).catch(() => undefined);
    const message = `A part could not be loaded: try again, or load the page anew. ${String(error)}`;
    throw SessionError.local("part_unavailable", message, true);
  }
}

/** Give a class methods that are those of a part: each call makes what does it, by `load`, which begins at once. */
export function lendMethods<Self extends object, Part extends object>(
  prototype: Self,
  names: readonly (keyof Part)[],
  load: (self: Self) => Promise<Part>,
): void {
  for (const name of names) {
    const value = async function (this: Self, ...given: unknown[]): Promise<unknown> {
      const part = await load(this);
      return (part[name] as (...given: unknown[]) => Promise<unknown>)(...given);
    };
    Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
  }
}

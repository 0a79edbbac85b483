/** How parts of the client are loaded on demand, and the parts that other parts load. */

import { findAddress } from "./again";
import type { Unsubscribe } from "./emitter";
import { SessionError } from "./errors";
import type * as Requests from "./requests/index";
import type * as Substitutes from "./substitutes";

/** Load the requests that few pages make. Throws `part_unavailable`. */
export function loadRequests(): Promise<typeof Requests> {
  return awaitPart(import("./requests/index"));
}

/** Load the substitutes for Web Locks. Throws `part_unavailable`. */
export function loadSubstitutes(): Promise<typeof Substitutes> {
  return awaitPart(import("./substitutes"));
}

/** Return true if the server is known to have removed the parts of this version. */
export function arePartsGone(): boolean {
  return areGone;
}

/** Callbacks for the discovery that the server has removed the parts of this version. */
const watchers = new Set<() => void>();
/** It holds for the whole page, because all its clients use the same files. */
let areGone = false;

/** Call `callback` when the client finds that the server has removed the parts of this version. */
export function watchParts(callback: () => void): Unsubscribe {
  watchers.add(callback);
  if (areGone) callback();
  return () => void watchers.delete(callback);
}

/**
 * Find out whether the file of a part was removed, or only the network failed. In most browsers the error has its
 * address.
 */
async function lookForFile(error: unknown): Promise<void> {
  const address = findAddress(error);
  if (!address || areGone) return;
  const { status } = await fetch(address, { method: "HEAD", cache: "no-store" });
  if (status !== 404 && status !== 410) return;
  areGone = true;
  for (const watcher of watchers) watcher();
}

/** Wait for a part. Throws `part_unavailable`; the next attempt loads the part again. */
export async function awaitPart<Part>(part: Promise<Part>): Promise<Part> {
  try {
    return await part;
  } catch (error) {
    lookForFile(error).catch(() => undefined);
    const message = `A part could not be loaded: try again, or load the page anew. ${String(error)}`;
    throw SessionError.local("part_unavailable", message, true);
  }
}

/**
 * Add the methods of a part to a class. Each call uses `load` to create an object of the part, and calls its method.
 */
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

/** Parts of the client that are loaded when they are needed. */

import type * as Changes from "./changes/index";
import type * as Digests from "./digests";
import { SessionError } from "./errors";
import type * as Outboxes from "./outboxes";
import type * as Requests from "./requests/index";
import type * as Sending from "./sending";
import type * as Substitutes from "./substitutes";

/** Part of the client, as an entry of the package such as `session-mgmt-client/http` exports it. */
export type Part = (shared: never) => object;

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

/** Load what makes digests of values. Throws `part_unavailable`. */
export function loadDigests(): Promise<typeof Digests> {
  return awaitPart(import("./digests"));
}

/** Load what takes the place of Web Locks. Throws `part_unavailable`. */
export function loadSubstitutes(): Promise<typeof Substitutes> {
  return awaitPart(import("./substitutes"));
}

/** Wait for a part. Throws `part_unavailable`; the next attempt loads it again. */
async function awaitPart<Part>(part: Promise<Part>): Promise<Part> {
  try {
    return await part;
  } catch (error) {
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

/** Parts of the client that are loaded with it, or on demand. */

import type * as Batch from "./batch";
import type * as Changes from "./changes/index";
import type * as Content from "./content";
import type * as Copies from "./copies";
import type * as Debug from "./debug";
import type * as Http from "./http/index";
import { awaitPart } from "./loading";
import type * as Outboxes from "./outboxes";
import type * as Sending from "./sending";
import type * as Tabs from "./tabs/index";

/** Load documents, topics and the outbox. Throws `part_unavailable`. */
export function loadContent(): Promise<typeof Content> {
  return awaitPart(import("./content"));
}

/** Load the outboxes that outlive their tabs. Throws `part_unavailable`. */
export function loadOutboxes(): Promise<typeof Outboxes> {
  return awaitPart(import("./outboxes"));
}

/** Load the handling of session changes. Throws `part_unavailable`. */
export function loadChanges(): Promise<typeof Changes> {
  return awaitPart(import("./changes/index"));
}

/** Load the connection that sends the writes of closed tabs. Throws `part_unavailable`. */
export function loadSending(): Promise<typeof Sending> {
  return awaitPart(import("./sending"));
}

/** Load the local copies. Throws `part_unavailable`. */
export function loadCopies(): Promise<typeof Copies> {
  return awaitPart(import("./copies"));
}

/** Load delayed synchronisation. Throws `part_unavailable`. */
export function loadBatch(): Promise<typeof Batch> {
  return awaitPart(import("./batch"));
}

/** Load the connection that tabs share. Throws `part_unavailable`. */
export function loadTabs(): Promise<typeof Tabs> {
  return awaitPart(import("./tabs/index"));
}

/** Load the transport over HTTP. Throws `part_unavailable`. */
export function loadHttp(): Promise<typeof Http> {
  return awaitPart(import("./http/index"));
}

/** Load the debug panel. Throws `part_unavailable`. */
export function loadDebug(): Promise<typeof Debug> {
  return awaitPart(import("./debug"));
}

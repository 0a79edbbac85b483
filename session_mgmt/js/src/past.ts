/** Answers about a document and its history over HTTP (PROTOCOL section 13), in this client's spelling. */

import type { Position, ReceiptFrame } from "./frames";
import type { Json } from "./values";

/** Document without its data. */
export interface DocumentHead {
  name: string;
  version: number;
  position: Position;
  lastModified: string;
  /** Client that made the newest version; null for the server itself. */
  lastWriter: string | null;
  /** SHA-256 of the RFC 8785 text at `checksumVersion`, which may be older; opaque where it is encrypted. */
  checksum: string | null;
  checksumVersion: number | null;
  compressed: boolean;
  encrypted: boolean;
  /** Bytes of compact JSON, an upper bound. */
  size: number;
}

export interface ClientState extends DocumentHead {
  data: Json;
}

/** Bytes on the server. */
export interface DocumentSizes {
  version: number;
  /** Of compact JSON; an upper bound unless `exact`. */
  size: number;
  exact: boolean;
  /** Of snapshots, as they are stored. */
  stored: number;
  /** Of the operations in the log. */
  log: number;
  compressed: boolean;
}

export interface HistoryOptions {
  /** Versions below this one; `next` of the page before. */
  before?: number;
  limit?: number;
}

/** Description of a version. */
export interface HistoryEntry {
  version: number;
  tag: string;
  kind: "patch" | "replace" | "clear" | "restore" | "merge";
  at: string;
  /** Null for the server itself. */
  clientId: string | null;
  seq: number | null;
  paths: string[];
  bytes: number;
  labels: string[];
}

/** Newest first. */
export interface HistoryPage {
  results: HistoryEntry[];
  /** Oldest version that can be read. */
  oldest: number;
  /** `before` of the next page; null on the last. */
  next: number | null;
}

export interface Checkpoint {
  label: string;
  version: number;
  /** Null in the answer of `persist`. */
  at: string | null;
}

/** Operation of RFC 6902. */
export interface PatchOperation {
  op: "add" | "remove" | "replace" | "move" | "copy" | "test";
  path: string;
  from?: string;
  value?: Json;
}

/** Conflict that `manual` kept. Absent values are omitted. */
export interface KeptConflict {
  id: string;
  path: string;
  version: number;
  base?: Json;
  server?: Json;
  client?: Json;
  clientId: string | null;
  at: string;
  resolvedAt: string | null;
  resolution: Keep | null;
}

export type Keep = "server" | "client" | "value";

/** Result of a write. */
export interface UpdateResult {
  version: number;
  position: Position | null;
  /** True if the document was so already, or was not absent. */
  unchanged: boolean;
  /** Paths of operations that did nothing: somebody else changed the place, or an `inc` left the range of numbers. */
  dropped: string[];
  /** Paths where values of others were overwritten. */
  overwrote: string[];
  conflicts: NonNullable<ReceiptFrame["conflicts"]>;
}

export function toUpdateResult(told: Partial<ReceiptFrame>, version: number): UpdateResult {
  return {
    version: told.position?.[1] ?? version,
    position: told.position ?? null,
    unchanged: told.unchanged ?? false,
    dropped: told.dropped ?? [],
    overwrote: told.overwrote ?? [],
    conflicts: told.conflicts ?? [],
  };
}

/** Records of a local copy. */

import { isPosition, type Position } from "./frames";
import type { Operation } from "./operations";

export interface NewBase extends Base {
  text: string;
  /** Highest version of a base in the same epoch that this one replaces. */
  over: number;
}

export interface Base {
  position: Position;
  /** Last write of each client that the value contains. */
  seqs: Record<string, number>;
}

export interface Entry {
  epoch: string;
  tag: string;
  /** Tag of the previous entry. */
  after: string;
  ops: readonly Operation[];
  client: string | null;
  seq: number;
}

/** Records of one document: the base at BASE and BODY, each entry at its version. */
export type Records = ReadonlyMap<number, unknown>;

export const BASE = -1;
/** Stored apart from the position of the base, so that the position can be read without the whole value. */
export const BODY = 0;

export function isBase(record: unknown): record is Base {
  const { position, seqs } = (record ?? {}) as Partial<Base>;
  return isPosition(position) && typeof seqs === "object" && seqs !== null;
}

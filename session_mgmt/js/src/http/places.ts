/** Logs of an attachment over HTTP: which ones it may poll, from which positions, and with which grants. */

import type { ConnectedFrame, GapFrame, Position, ServerFrame, SnapshotFrame } from "../frames";
import type { SentFrame } from "./sender";

/** Positions that a call has named. */
export type Asked = Record<string, Position | null>;

interface PolledLog {
  position: Position | null;
  grant: string | undefined;
  slow: string | undefined;
  filter: object | undefined;
}

export class Places {
  readonly #find: (log: string) => Position | null | undefined;
  /** Logs that the server has accepted, each with its grant if it has one. */
  readonly #grants = new Map<string, string | undefined>();
  /** Logs of subscribe and unsubscribe frames, by the id of the frame. */
  readonly #questions = new Map<number, string>();
  /** Options `slow` and `filter` of the subscriptions, by log. */
  #slow: Record<string, string | undefined> = {};
  #filter: Record<string, object | undefined> = {};
  readonly #tellChange: () => void;

  constructor(find: (log: string) => Position | null | undefined, tellChange: () => void) {
    this.#find = find;
    this.#tellChange = tellChange;
  }

  takeConnected({ logs }: ConnectedFrame): void {
    for (const [log, { mode, grant }] of Object.entries(logs)) if (mode !== "denied") this.#grants.set(log, grant);
  }

  noteWishes({ slow, filter }: { slow?: Record<string, string>; filter?: Record<string, object> }): void {
    this.#slow = { ...slow };
    this.#filter = { ...filter };
  }

  noteSent({ type, id, log, slow, filter }: SentFrame): void {
    if (id === undefined || log === undefined) return;
    if (type === "subscribe") [this.#slow[log], this.#filter[log]] = [slow, filter];
    if (type === "unsubscribe") this.#grants.delete(log);
    this.#questions.set(id, log);
  }

  /** Note what a frame tells about the logs, before the connection handles it. */
  noteFrame(frame: ServerFrame): void {
    if (frame.type === "grants") {
      for (const [log, grant] of Object.entries(frame.grants)) if (this.#grants.has(log)) this.#grants.set(log, grant);
    } else if (frame.type === "error" && frame.log !== undefined && frame.id === undefined) {
      this.#grants.delete(frame.log);
    }
  }

  /** Note the answer to a question about a log, after the connection has handled it. */
  noteAnswer(frame: ServerFrame): void {
    if ((frame.type !== "reply" && frame.type !== "error") || frame.id === undefined) return;
    const log = this.#questions.get(frame.id);
    if (log === undefined) return;
    this.#questions.delete(frame.id);
    if (frame.type === "reply" && frame.verdict) this.#grants.set(log, frame.verdict.grant);
    this.#tellChange();
  }

  /** Return the `logs` of a poll. */
  listForPoll(): Record<string, PolledLog> {
    const logs: Record<string, PolledLog> = {};
    for (const [log, grant] of this.#grants) {
      const position = this.#find(log);
      if (position !== undefined) logs[log] = { position, grant, slow: this.#slow[log], filter: this.#filter[log] };
    }
    return logs;
  }

  /** Return the positions of all logs that have one. */
  listKnown(): Asked {
    return Object.fromEntries(Object.entries(this.list(this.#grants.keys())).filter(([, place]) => place !== null));
  }

  /** Return the positions of these logs, if they are followed. */
  list(logs: Iterable<string>): Asked {
    const asked: Asked = {};
    for (const log of logs) {
      const place = this.#find(log);
      if (place !== undefined && this.#grants.has(log)) asked[log] = place;
    }
    return asked;
  }

  /**
   * Return true if the client has already gone past the position that a frame starts from, because of another call.
   * Entries are excepted, because their offsets tell which of them are known.
   */
  isStale(frame: ServerFrame, asked: Asked): boolean {
    if (frame.type !== "snapshot" && frame.type !== "gap") return false;
    const place = this.#find(frame.log);
    const before = asked[frame.log];
    if (!place || before === undefined || isSame(before, place)) return false;
    return !isLater(frame, place);
  }

  /** Note the position that a frame has brought a log to: the next frame of the same call starts there. */
  advance(frame: ServerFrame, asked: Asked): void {
    if (frame.type !== "entries" && frame.type !== "snapshot" && frame.type !== "gap") return;
    const place = this.#find(frame.log);
    if (place !== undefined && frame.log in asked) asked[frame.log] = place;
  }
}

function isSame(one: Position | null, other: Position): boolean {
  return one !== null && one.every((part, at) => part === other[at]);
}

function isLater({ position }: SnapshotFrame | GapFrame, place: Position): boolean {
  return position !== undefined && position[0] === place[0] && position[1] > place[1];
}

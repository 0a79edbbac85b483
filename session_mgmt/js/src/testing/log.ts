/** Log of the fake server. */

import type { GapFrame, Position, SnapshotFrame, Verdict } from "../frames";
import { applyOperations, type Operation } from "../operations";
import type { Json } from "../values";

export type Entry = [offset: number, tag: string, body: Json];

let lives = 0;

export class FakeLog {
  epoch = newEpoch();
  entries: Entry[] = [];
  head = 0;
  #tags = new Map<number, string>([[0, ""]]);

  constructor(readonly name: string) {}

  get position(): Position {
    return this.positionAt(this.head);
  }

  positionAt(offset: number): Position {
    return [this.epoch, offset, this.#tags.get(offset) ?? ""];
  }

  appendEntry(body: Json): Entry {
    this.head += 1;
    const tag = `${this.epoch.slice(-6)}${String(this.head).padStart(10, "0")}`;
    this.#tags.set(this.head, tag);
    const entry: Entry = [this.head, tag, body];
    this.entries.push(entry);
    return entry;
  }

  /** Remove all entries up to an offset. */
  trim(upTo = this.head): void {
    this.entries = this.entries.filter(([offset]) => offset > upTo);
  }

  /** Lose the history: begin another epoch. */
  restart(): void {
    this.epoch = newEpoch();
    this.entries = [];
    this.head = 0;
  }

  entriesAfter(offset: number): Entry[] {
    return this.entries.filter((entry) => entry[0] > offset);
  }

  /** Return the newest entries before a position, or of the whole log, as a reply to `history`. */
  listPast(before: Position | null, limit = 50): object {
    const entries = this.entries.filter(([offset]) => !before || offset < before[1]).slice(-limit);
    const more = this.entries.some(([offset]) => offset < (entries[0]?.[0] ?? 0));
    return { epoch: this.epoch, entries: entries.map((entry) => [...entry, "2026-11-23T12:00:00.000000Z"]), more };
  }

  judgePosition(asked: Position | null, since?: Json): Verdict {
    if (!asked && since) return this.judgePosition(since.position ?? this.positionAt(Math.max(this.head - since.last, 0)));
    if (!asked) return { mode: "up_to_date", reason: "from_now", position: this.position };
    const [epoch, offset, tag] = asked;
    if (epoch !== this.epoch) return this.makeGap(null, "epoch_changed");
    if (this.#tags.get(offset) !== tag) return this.makeGap(null, "history_lost");
    if (offset === this.head) return { mode: "up_to_date", position: asked };
    if (this.entriesAfter(offset).length < this.head - offset) return this.makeGap(offset + 1, "trimmed");
    return { mode: "entries", from: offset, to: this.head, position: asked };
  }

  protected makeGap(from: number | null, reason: string): Verdict {
    return { mode: "gap", from, to: this.head, reason, position: this.position };
  }

  /** Return the frames between a verdict and the live entries. */
  listReplay(verdict: Verdict): object[] {
    if (verdict.mode !== "entries") return [];
    const entries = this.entriesAfter(verdict.from as number);
    return [{ type: "entries", log: this.name, epoch: this.epoch, entries, recovered: true }];
  }

  gapFrame(from: number, to: number): GapFrame {
    return { type: "gap", log: this.name, mode: "gap", from, to, reason: "trimmed", position: this.position };
  }
}

export class FakeDocument extends FakeLog {
  value: Json = {};
  /** Address of the body, if clients must fetch snapshots. */
  url: string | null = null;
  /** True if the server stores the document encrypted. */
  encrypted = false;
  readonly labels = new Map<string, number>();
  /** Answer of `conflicts/`. Resolving with `keep` = `client` sets the whole document to `client`. */
  readonly conflicts: Json[] = [];

  /** Return the value at a version; undefined if the log does not have it. */
  valueAt(version: number): Json | undefined {
    if (version < 0 || version > this.head || this.entries.length < this.head) return undefined;
    const before = this.entries.filter(([offset]) => offset <= version);
    return before.reduce<Json>((value, [, , { ops }]) => applyOperations(value, ops), {});
  }

  applyWrite(ops: readonly Operation[], author: { client_id?: string; seq?: number } = {}): Entry {
    this.value = applyOperations(this.value, ops);
    return this.appendEntry({ ops, ...author });
  }

  override restart(): void {
    super.restart();
    this.value = {};
  }

  override judgePosition(asked: Position | null): Verdict {
    const verdict = asked ? super.judgePosition(asked) : this.makeGap(null, "first");
    return this.encrypted ? { ...verdict, encrypted: true } : verdict;
  }

  protected override makeGap(_from: number | null, reason: string): Verdict {
    return { mode: "snapshot", reason, position: this.position };
  }

  override listReplay(verdict: Verdict): object[] {
    return verdict.mode === "snapshot" ? [this.makeSnapshot(verdict.reason)] : super.listReplay(verdict);
  }

  makeSnapshot(reason = "first"): SnapshotFrame {
    const body = this.url === null ? { data: this.value } : { url: this.url };
    return { type: "snapshot", log: this.name, position: this.position, reason, ...body };
  }
}

function newEpoch(): string {
  lives += 1;
  return `e${String(lives).padStart(7, "0")}`;
}

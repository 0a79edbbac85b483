/** Copy of a document in the client: the confirmed value, and the unanswered writes on top of it. */

import { requireFunction } from "./arguments";
import { runGuarded, type Unsubscribe } from "./emitter";
import type { Position, UpdateFrame, Verdict } from "./frames";
import { mergePatch } from "./merge";
import { applyOperations, type Operation } from "./operations";
import type { Write } from "./outbox";
import * as pointer from "./pointer";
import { shareParts } from "./sharing";
import type { Json } from "./values";

export interface Change {
  /** Source of the change; `cache` is a value of the local copy, from before the server has answered. */
  origin: "local" | "server" | "cache";
  version: number;
}

export type Listener<Value = Json | undefined> = (value: Value, change: Change) => void;

interface Watch {
  tokens: string[];
  value: Json | undefined;
  listener: Listener;
}

export class Replica {
  /** Position of the confirmed value; null until the server has sent it. */
  position: Position | null = null;
  #confirmed: Json = {};
  #view: Json = {};
  /** True until a requested snapshot arrives: receipts may be ahead of the confirmed value. */
  #loading = true;
  /** True when listeners know the value of the start. */
  #told = true;
  /** Version at which the local copy equals the server's value; null if the value is not a local copy. */
  #awaited: number | null = null;
  readonly #pending = new Map<Write, Position | null>();
  readonly #watches = new Set<Watch>();

  /**
   * Value that the application sees. A part of it is replaced by another object only if its value changes. Operations
   * are total, so unanswered ones can be applied to any confirmed value.
   */
  get view(): Json {
    return this.#view;
  }

  /** Value that the server has confirmed. */
  get confirmed(): Json {
    return this.#confirmed;
  }

  get version(): number {
    return this.position?.[1] ?? 0;
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** True until the server has confirmed the local copy, or has sent the changes since. */
  get fromCache(): boolean {
    return this.#awaited !== null;
  }

  /** Take a local copy as the confirmed value, as if a connection had been lost at that version. */
  restoreCopy(data: Json, position: Position): void {
    this.#confirmed = this.#view = data;
    this.moveTo(position);
    this.#awaited = Infinity;
    this.#told = false;
  }

  /** Report the local copy to listeners that were registered right after the start. */
  announceCopy(): void {
    if (this.#told) return;
    this.#told = true;
    this.#notifyWatches("cache");
  }

  on(path: string, listener: Listener): Unsubscribe {
    const tokens = pointer.parse(path);
    requireFunction(listener, "the callback");
    // Before the server has answered, the value can only consist of unanswered writes of an earlier page. The listener
    // has not seen them, and if the value never changes again, it would never be called.
    const value = this.position === null || !this.#told ? undefined : pointer.getValue(this.#view, tokens);
    const watch: Watch = { tokens, value, listener };
    this.#watches.add(watch);
    return () => void this.#watches.delete(watch);
  }

  /** Return true if the value already shows a write. */
  holdsWrite(write: Write): boolean {
    return this.#pending.has(write);
  }

  /** Show a write before the server has answered it. */
  expectWrite(write: Write): void {
    this.#view = shareParts(this.#view, this.#showWrite(this.#view, write, this.#pending.size > 0));
    this.#pending.set(write, null);
    this.#notifyWatches("local");
  }

  /** Show the new content of an unsent write. */
  showAmended(origin: Change["origin"]): void {
    this.#rebuildView();
    this.#notifyWatches(origin);
  }

  /** Settle an answered write. The confirmed value contains its effect once it has reached `position`. */
  settleWrite(write: Write, position: Position | null): void {
    if (!this.#pending.has(write)) return;
    if (position && this.#loading) this.#pending.set(write, position);
    else this.#pending.delete(write);
    this.#rebuildView();
    this.#notifyWatches("server");
  }

  /** Set the position of the confirmed value; null when another epoch begins. */
  moveTo(position: Position | null): void {
    this.position = position;
    this.#loading = position === null;
  }

  /** Expect a snapshot. Until it arrives, receipts may be ahead of the confirmed value. */
  awaitSnapshot(): void {
    this.#loading = true;
  }

  /** Handle the server's verdict on the position of the local copy. */
  takeVerdict({ mode, to }: Verdict): void {
    if (this.#awaited === null) return;
    if (mode === "up_to_date") this.#awaited = null;
    else this.#awaited = mode === "entries" ? (to ?? Infinity) : Infinity;
  }

  /** Apply the operations of one version; `own` is the number of the write if this client made it. */
  applyVersion(operations: readonly Operation[], own: number | null): void {
    this.#confirmed = applyOperations(this.#confirmed, operations);
    // The receipt arrives later; until then the write would be applied twice.
    if (own !== null) this.#forgetPending((write) => write.seq === own);
  }

  /** Replace the value by a snapshot. Writes up to `decided` were answered before, so the snapshot contains them. */
  takeSnapshot(data: Json, decided: number): void {
    this.#confirmed = shareParts(this.#confirmed, data);
    this.#awaited = null;
    this.#forgetPending((write) => write.seq <= decided);
  }

  /** Show the confirmed value after versions or a snapshot. */
  showConfirmed(): void {
    const epoch = this.position?.[0];
    this.#forgetPending((_, at) => at !== null && !this.#loading && (at[0] !== epoch || at[1] <= this.version));
    if (this.#awaited !== null && this.version >= this.#awaited) this.#awaited = null;
    this.#told = true;
    this.#rebuildView();
    this.#notifyWatches("server");
  }

  /** Remove the value, because this client may no longer see it. */
  resetValue(): void {
    this.#confirmed = {};
    this.#awaited = null;
    this.#told = true;
    this.#rebuildView();
    this.#notifyWatches("server");
  }

  dropPending(): void {
    this.#pending.clear();
    this.#rebuildView();
    this.#notifyWatches("server");
  }

  clearWatches(): void {
    this.#watches.clear();
  }

  #forgetPending(when: (write: Write, answeredAt: Position | null) => boolean): void {
    for (const [write, at] of this.#pending) if (when(write, at)) this.#pending.delete(write);
  }

  #rebuildView(): void {
    let view = this.#confirmed;
    let behind = false;
    for (const write of this.#pending.keys()) {
      view = this.#showWrite(view, write, behind);
      behind = true;
    }
    this.#view = shareParts(this.#view, view);
    // Equal values in different objects would be compared again at each change.
    if (this.#pending.size === 0) this.#confirmed = this.#view;
  }

  /** Return the value after a write. `behind`: another write is before it. */
  #showWrite(view: Json, write: Write, behind: boolean): Json {
    // If the document has a value already, the first value of this write must not be visible until its answer comes.
    const late = (write.frame as UpdateFrame).if_absent && (behind || this.version > 0);
    return late ? view : applyWrite(view, write);
  }

  #notifyWatches(origin: Change["origin"]): void {
    const change = { origin, version: this.version };
    for (const watch of [...this.#watches]) {
      const value = pointer.getValue(this.#view, watch.tokens);
      const changed = this.#watches.has(watch) && value !== watch.value;
      watch.value = value;
      if (changed) runGuarded(() => watch.listener(value, change));
    }
  }
}

function applyWrite(value: Json, write: Write): Json {
  const update = write.frame as UpdateFrame;
  if (update.ops) return applyOperations(value, update.ops);
  return "merge" in update ? mergePatch(value, update.merge) : update.data;
}

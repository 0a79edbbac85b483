/** Record that a tab keeps over a reload: its name, next number, unanswered writes and positions in the logs. */

import type { Environment } from "./environment";
import { SessionError } from "./errors";
import type { Position, SessionFields, WriteFrame } from "./frames";
import { claimLock, isHeldInTab, type Release } from "./lock";
import type { Mirror } from "./mirror";
import type { Outboxes } from "./outboxes";
import type { Shelf } from "./storage";

interface Fields {
  session: string | null;
  /** Whose session it is; null for nobody, absent in records of earlier versions. */
  user?: string | null;
  client: string | null;
  next: number;
  /** Highest number that was ever sent; a write above it can be given another one. */
  sent: number;
}

export interface RecordParts {
  env: Environment;
  /** Storage of the tab, under the names of the application, the session and the slot. */
  shelf: Shelf;
  /** Beginning of the names of locks. */
  scope: string;
  /** Null where nothing outlives the tab. */
  outboxes: Outboxes | null;
  /** First part of the owner of what is stored. */
  ownerScope: string;
  /** Called when the store has caught up with the tab, or has failed. */
  tellStored(): void;
}

const EMPTY: Fields = { session: null, client: null, next: 1, sent: 0 };
/** Item of the shelf that holds the key of the tab's record. A copied tab has a copy of it, but not the lock. */
const KEY = "client";

export class ClientRecord {
  readonly #parts: RecordParts;
  #key: string;
  #release: Release;
  #shelf: Shelf;
  #mirror: Mirror | null;
  #fields: Fields;

  private constructor(parts: RecordParts, key: string, release: Release) {
    this.#parts = parts;
    this.#key = key;
    this.#release = release;
    this.#shelf = parts.shelf.under(`${key}:`);
    this.#fields = { ...EMPTY, ...this.#shelf.get<Fields>("fields") };
    this.#mirror = this.#openMirror();
    for (const [seq, write] of this.readWrites()) this.#mirror?.put(seq, write);
  }

  /**
   * Open the record of this tab. A tab whose writes were taken over by another begins anew, with its positions. If
   * somebody else holds the lock, this tab is a copy of the holder's: the copied writes are the other's to send, and
   * this tab is a new client. Throws `slot_taken` if the holder is another client of this same tab. Nothing is removed
   * that may be the holder's.
   */
  static async open(parts: RecordParts): Promise<ClientRecord> {
    const { env, shelf, scope, outboxes } = parts;
    const key = shelf.get<string>(KEY);
    if (key === null) return ClientRecord.#begin(parts);
    const isAdopted = async (): Promise<boolean> => (await outboxes?.store.isAdopted(key)) ?? false;
    if (await isAdopted()) return ClientRecord.#begin(parts, key);
    const release = await claimLock(env, scope + key);
    if (!release) {
      if (await isHeldInTab(env, scope + key)) throw slotTaken();
      return ClientRecord.#begin(parts, (await isAdopted()) ? key : null);
    }
    // It may have been taken over while this tab waited for the lock.
    if (!(await isAdopted())) return new ClientRecord(parts, key, release);
    release();
    return ClientRecord.#begin(parts, key);
  }

  /** Begin as a new client, at the positions of an earlier key if there is one. */
  static async #begin(parts: RecordParts, before: string | null = null): Promise<ClientRecord> {
    const key = makeKey(parts.env);
    // Before anything is awaited, so that a second client of this tab finds it.
    parts.shelf.set(KEY, key);
    if (before !== null) carryPositions(parts.shelf.under(`${before}:`), parts.shelf.under(`${key}:`));
    const release = await claimLock(parts.env, parts.scope + key);
    return new ClientRecord(parts, key, release ?? (() => undefined));
  }

  get key(): string {
    return this.#key;
  }

  get session(): string | null {
    return this.#fields.session;
  }

  get client(): string | null {
    return this.#fields.client;
  }

  get next(): number {
    return this.#fields.next;
  }

  set next(seq: number) {
    this.#fields.next = seq;
    this.#saveFields();
  }

  /** Highest number that was ever sent. */
  get sent(): number {
    return this.#fields.sent;
  }

  set sent(seq: number) {
    this.#fields.sent = seq;
    this.#saveFields();
  }

  /** True if every write would survive this tab. */
  get isDurable(): boolean {
    return this.#mirror?.isComplete ?? false;
  }

  /** Whose writes these are; undefined if an earlier version stored them. */
  get user(): string | null | undefined {
    return this.#fields.user;
  }

  assignClient({ session_id: session, user_id: user }: SessionFields, client: string | null): void {
    const { session: before, user: whose, client: name } = this.#fields;
    if (before === session && whose === user && name === client) return;
    this.#fields = { ...this.#fields, session, user, client };
    this.#saveFields();
    // Whoever finds these writes must send them under the name that they were sent under.
    this.#mirror?.touch();
    this.#mirror?.guard();
  }

  /** Forget whose record this was: its session has ended, and nothing that was written in it waits. */
  leaveSession(): void {
    this.#fields = { ...EMPTY };
    this.#saveFields();
  }

  /** Read the unanswered writes of an earlier page, in the order of their numbers. */
  readWrites(): [seq: number, write: WriteFrame][] {
    return this.#shelf
      .listNames("write:")
      .map((name): [number, WriteFrame | null] => [Number(name.slice("write:".length)), this.#shelf.get(name)])
      .filter((pair): pair is [number, WriteFrame] => pair[1] !== null)
      .sort(([a], [b]) => a - b);
  }

  /** Store a write in the tab, and, unless more may be added to it, where it outlives the tab. */
  storeWrite(seq: number, write: WriteFrame, held = false): void {
    this.#shelf.set(`write:${seq}`, write);
    if (!held) this.#mirror?.put(seq, write);
  }

  dropWrite(seq: number): void {
    this.#shelf.remove(`write:${seq}`);
    this.#mirror?.put(seq, null);
  }

  /** Return true if nothing may be sent yet, because the store knows other numbers; then `resume` is called later. */
  awaitStored(resume: () => void): boolean {
    return this.#mirror?.awaitStored(resume) ?? false;
  }

  /** Note that a number that was stored means another write from now on. */
  guardNumbers(): void {
    this.#mirror?.guard();
  }

  readPosition(log: string): Position | null {
    return this.#shelf.get(`position:${log}`);
  }

  setPosition(log: string, position: Position | null): void {
    if (position) this.#shelf.set(`position:${log}`, position);
    else this.#shelf.remove(`position:${log}`);
  }

  /** Forget all places in logs: another person's session begins. */
  clearPositions(): void {
    this.#shelf.clear("position:");
  }

  /** Return true if another tab has taken this tab's writes over. */
  async isAdopted(): Promise<boolean> {
    return (await this.#parts.outboxes?.store.isAdopted(this.#key)) ?? false;
  }

  /** Begin as a new client with this tab's positions; the writes under the old key are another tab's. */
  renew(): void {
    const { env, shelf, scope } = this.#parts;
    const [before, { session, user }] = [this.#shelf, this.#fields];
    this.#release();
    this.#key = makeKey(env);
    shelf.set(KEY, this.#key);
    this.#shelf = shelf.under(`${this.#key}:`);
    carryPositions(before, this.#shelf);
    this.#fields = { ...EMPTY, session, user };
    this.#saveFields();
    this.#mirror = this.#openMirror();
    this.#release = () => undefined;
    // A key that was drawn just now is nobody else's.
    void claimLock(env, scope + this.#key).then((release) => (this.#release = release ?? this.#release));
  }

  /** Store what changed, without waiting for the end of this turn. */
  flush(): void {
    this.#mirror?.flush();
  }

  releaseLock(): void {
    this.#release();
  }

  #openMirror(): Mirror | null {
    const { outboxes, env, ownerScope, tellStored, scope } = this.#parts;
    const key = this.#key;
    const describe = () => ({
      key,
      lock: scope + key,
      owner: [ownerScope, this.#fields.user ?? "", this.#fields.session ?? ""] as const,
      client: this.#fields.client,
      at: env.clock.now(),
    });
    return outboxes && outboxes.newMirror(describe, tellStored);
  }

  #saveFields(): void {
    this.#shelf.set("fields", this.#fields);
  }
}

function makeKey(env: Environment): string {
  return `${env.random()}${env.random()}`.replaceAll("0.", "-");
}

/** Move the positions of a client whose writes are another tab's, and forget the rest of it. */
function carryPositions(before: Shelf, after: Shelf): void {
  for (const name of before.listNames("position:")) after.set(name, before.get(name));
  before.clear();
}

function slotTaken(): SessionError {
  const message = "Another client of this tab uses this name and slot. Give each client of a tab its own `slot`.";
  return SessionError.local("slot_taken", message);
}

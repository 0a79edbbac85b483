/** Record that a tab keeps over a reload: its name, next number, unanswered writes and positions in the logs. */

import { isText } from "./arguments";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import { isPosition, type Position, type SessionFields, type WriteFrame } from "./frames";
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

/** Key of a record, and what lets go of its lock. */
type Claim = [key: string, release: Release];

const EMPTY: Fields = { session: null, client: null, next: 1, sent: 0 };
/** Item of the shelf that holds the key of the tab's record. A copied tab has a copy of it, but not the lock. */
const KEY = "client";
/** Beginning of the names of what is written while the page has let go of its record. */
const LATE = "late:";

export class ClientRecord {
  /** Number of the present attachment among all of the client. */
  generation = 1;
  /** Number that it would have if every attach that was begun had arrived; not a number before the first answer. */
  latest = NaN;
  readonly #parts: RecordParts;
  /** True while another page may have it. */
  isAway = false;
  /** How often the page was left. */
  leavings = 0;
  /** First of the numbers that were given while another page could have it: they are not the record's. */
  lateFrom = Infinity;
  #key!: string;
  /** Key of the record that is opened next; another one than it was if its writes are another tab's by now. */
  #nextKey!: string;
  #release!: Release;
  #shelf!: Shelf;
  #mirror: Mirror | null = null;
  #fields!: Fields;
  #isClosed = false;

  private constructor(parts: RecordParts, claim: Claim) {
    this.#parts = parts;
    this.#take(claim);
  }

  /**
   * Open the record of this tab. A tab whose writes were taken over by another begins anew, with its positions. If
   * somebody else holds the lock, this tab is a copy of the holder's: the copied writes are the other's to send, and
   * this tab is a new client. Throws `slot_taken` if the holder is another client of this same tab. Nothing is removed
   * that may be the holder's.
   */
  static async open(parts: RecordParts): Promise<ClientRecord> {
    const key = parts.shelf.get<string>(KEY);
    return new ClientRecord(parts, await (key === null ? beginRecord(parts) : claimRecord(parts, key)));
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
    this.#saveFields(true);
  }

  /** Highest number that was ever sent. */
  get sent(): number {
    return this.#fields.sent;
  }

  set sent(seq: number) {
    this.#fields.sent = seq;
    this.#saveFields(true);
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
    return readWrites(this.#shelf);
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
    const kept = this.#shelf.get(`position:${log}`);
    // For a place that is none the server would refuse each connection.
    return isPosition(kept) ? kept : null;
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

  /** Let go of it, for the page may be left for another one; until `reopen`, what is written waits beside it. */
  leave(): void {
    this.leavings += 1;
    if (this.isAway) return;
    this.flush();
    this.isAway = true;
    this.lateFrom = this.#fields.next;
    this.#mirror = null;
    this.#shelf = this.#shelf.under(LATE);
    this.#release();
  }

  /**
   * Open it again, as other pages have left it; if it is another tab's now, this is a new client's. It stays away if the
   * page was left more often than `leavings` when that is done.
   */
  async reopen(leavings: number): Promise<void> {
    const late = this.#shelf;
    const claim = await claimRecord(this.#parts, this.#nextKey).catch(() => beginRecord(this.#parts));
    if (this.#isClosed) return claim[1]();
    if (leavings !== this.leavings) return this.#letGo(claim, late);
    this.#take(claim);
    this.#takeLate(late);
  }

  /** Store what changed, without waiting for the end of this turn. */
  flush(): void {
    this.#mirror?.flush();
  }

  releaseLock(): void {
    this.#isClosed = true;
    this.#release();
  }

  #take([key, release]: Claim): void {
    const { shelf } = this.#parts;
    shelf.set(KEY, key);
    this.isAway = false;
    this.#key = this.#nextKey = key;
    this.#release = release;
    this.#shelf = shelf.under(`${key}:`);
    this.#fields = { ...EMPTY, ...readFields(this.#shelf) };
    this.#takeLate(this.#shelf.under(LATE));
    this.#mirror = this.#openMirror();
    for (const [seq, write] of this.readWrites()) this.#mirror?.put(seq, write);
  }

  /** Let go of what was claimed, which the next time begins with. */
  #letGo([key, release]: Claim, late: Shelf): void {
    if (key !== this.#nextKey) {
      this.#nextKey = key;
      this.#shelf = this.#parts.shelf.under(`${key}:`).under(LATE);
      for (const name of late.listNames("write:")) this.#shelf.set(name, late.get(name));
      late.clear();
    }
    release();
  }

  /** Number what was written while the page had let go of its record. */
  #takeLate(late: Shelf): void {
    const writes = readWrites(late);
    late.clear();
    if (writes.length === 0) return;
    const last = this.readWrites().at(-1)?.[0] ?? 0;
    let next = Math.max(this.next, last + 1);
    for (const [, write] of writes) this.storeWrite(next++, write);
    this.next = next;
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

  /** Store the fields; with lower numbers than these the server is asked, but without the client nobody is. */
  #saveFields(isSameClient = false): void {
    this.#shelf.set("fields", this.#fields, isSameClient);
  }
}

/** Read the fields of a record; null if they are none, so that no number is given that is none. */
function readFields(shelf: Shelf): Fields | null {
  const kept = shelf.get<Fields>("fields");
  const isName = kept?.client === null || isText(kept?.client);
  return isName && Number.isInteger(kept.next + kept.sent) ? kept : null;
}

function makeKey(env: Environment): string {
  return `${env.random()}${env.random()}`.replaceAll("0.", "-");
}

/** Read the writes of a shelf, in the order of their numbers. */
function readWrites(shelf: Shelf): [seq: number, write: WriteFrame][] {
  return shelf
    .listNames("write:")
    .map((name): [number, WriteFrame | null] => [Number(name.slice("write:".length)), shelf.get(name)])
    .filter((pair): pair is [number, WriteFrame] => pair[1] !== null)
    .sort(([a], [b]) => a - b);
}

/** Claim the lock of a record, or begin another one; throws `slot_taken`. */
async function claimRecord(parts: RecordParts, key: string): Promise<Claim> {
  const { env, scope, outboxes } = parts;
  // Without the store nobody can have taken it over.
  const isAdopted = async (): Promise<boolean> => (await outboxes?.store.isAdopted(key).catch(() => false)) ?? false;
  if (await isAdopted()) return beginRecord(parts, key);
  const release = await claimLock(env, scope + key);
  if (!release) {
    if (await isHeldInTab(env, scope + key)) throw slotTaken();
    return beginRecord(parts, (await isAdopted()) ? key : null);
  }
  // It may have been taken over while this tab waited for the lock.
  if (!(await isAdopted())) return [key, release];
  release();
  return beginRecord(parts, key);
}

/** Begin as a new client, at the positions of an earlier key if there is one. */
async function beginRecord(parts: RecordParts, before: string | null = null): Promise<Claim> {
  const { env, shelf, scope } = parts;
  const key = makeKey(env);
  // Before anything is awaited, so that a second client of this tab finds it.
  shelf.set(KEY, key);
  if (before !== null) carryPositions(shelf.under(`${before}:`), shelf.under(`${key}:`));
  return [key, (await claimLock(env, scope + key)) ?? (() => undefined)];
}

/** Move the positions of a client whose writes are another tab's, and what nobody has numbered; forget the rest of it. */
function carryPositions(before: Shelf, after: Shelf): void {
  for (const start of ["position:", LATE]) {
    for (const name of before.listNames(start)) after.set(name, before.get(name));
  }
  before.clear();
}

function slotTaken(): SessionError {
  const message = "Another client of this tab uses this slot: give each its own `slot`.";
  return SessionError.local("slot_taken", message);
}

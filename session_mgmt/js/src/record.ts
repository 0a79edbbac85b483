/** Record of a tab, which survives a reload: its name, next number, unanswered writes, and positions in the logs. */

import { isText } from "./arguments";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import { isPosition, type Position, type SessionFields, type WriteFrame } from "./frames";
import { claimLock, isHeldInTab } from "./lock";
import type { Mirror, OutboxShelf } from "./mirror";
import type { Shelf } from "./storage";
import type { Release } from "./substitutes";

interface Fields {
  session: string | null;
  /** User of the session; null for an anonymous session, absent in records of earlier versions. */
  user?: string | null;
  client: string | null;
  next: number;
  /** Highest number that was ever sent; a write above it can get another number. */
  sent: number;
}

export interface RecordParts {
  env: Environment;
  /** Storage of the tab, under the names of the application, the session and the slot. */
  shelf: Shelf;
  /** Prefix of the names of locks. */
  scope: string;
  /** Null if nothing outlives the tab. */
  outboxes: OutboxShelf | null;
  /** First part of the owner of what is stored. */
  ownerScope: string;
  /** Called when the store is up to date with the tab, or has failed (`isGone`). */
  tellStored(isGone: boolean): void;
}

/** Store in a record what the storage has lost. */
type Restore = (key: string, kept: Shelf, late: Shelf, isNamed: boolean) => Promise<void>;

/** Key of a record, and the function that releases its lock. */
type Claim = [key: string, release: Release];

const EMPTY: Fields = { session: null, client: null, next: 1, sent: 0 };
/** Item of the shelf with the key of the tab's record. A copied tab has a copy of the key, but not the lock. */
const KEY = "client";
/** Prefix of the names of writes that are made while the page has released its record. */
const LATE = "late:";

export class ClientRecord {
  /** Number of the present attachment of the client. */
  generation = 1;
  /** Number of the newest attach that may still arrive; not a number before the first answer. */
  latest = NaN;
  readonly #parts: RecordParts;
  /** True while another page may have the record. */
  isAway = false;
  /** Number of times that the page was left. */
  leavings = 0;
  /** First number that was given while another page could have the record. These numbers are not in the record. */
  lateFrom = Infinity;
  #key!: string;
  /** Key of the record to open next; a new key if another tab has adopted the writes. */
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
   * Open the record of this tab. If another tab has adopted its writes, begin anew with its positions. If the lock is
   * held, this tab is a copy of the holder: only the holder sends the copied writes, and this tab is a new client.
   * Throws `slot_taken` if the holder is another client of the same tab. Nothing that may belong to the holder is
   * removed.
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

  /** User of these writes; undefined if an earlier version stored them. */
  get user(): string | null | undefined {
    return this.#fields.user;
  }

  assignClient({ session_id: session, user_id: user }: SessionFields, client: string | null): void {
    const { session: before, user: whose, client: name } = this.#fields;
    if (before === session && whose === user && name === client) return;
    this.#fields = { ...this.#fields, session, user, client };
    this.#saveFields();
    // A tab that adopts these writes must send them under the same client name.
    this.#mirror?.touch();
    this.#mirror?.guard();
  }

  /** Forget the user of the record, because the session has ended and no writes wait. */
  leaveSession(): void {
    this.#fields = { ...EMPTY };
    this.#saveFields();
  }

  /** Read the unanswered writes of an earlier page, in the order of their numbers. */
  readWrites(): [seq: number, write: WriteFrame][] {
    return readWrites(this.#shelf);
  }

  /** Store a write in the tab, and, unless it is held, also where it outlives the tab. */
  storeWrite(seq: number, write: WriteFrame, held = false): void {
    this.#shelf.set(`write:${seq}`, write);
    if (!held) this.#mirror?.put(seq, write);
  }

  dropWrite(seq: number): void {
    this.#shelf.remove(`write:${seq}`);
    this.#mirror?.put(seq, null);
  }

  /** Return true if sending must wait, because the store has other numbers; then `resume` is called later. */
  awaitStored(resume: () => void): boolean {
    return this.#mirror?.awaitStored(resume) ?? false;
  }

  /** Note that a stored number is given to another write. */
  guardNumbers(): void {
    this.#mirror?.guard();
  }

  readPosition(log: string): Position | null {
    const kept = this.#shelf.get(`position:${log}`);
    // The server would refuse each connection with an invalid position.
    return isPosition(kept) ? kept : null;
  }

  setPosition(log: string, position: Position | null): void {
    if (position) this.#shelf.set(`position:${log}`, position);
    else this.#shelf.remove(`position:${log}`);
  }

  /** Forget all positions, because the session of another user begins. */
  clearPositions(): void {
    this.#shelf.clear("position:");
  }

  /** Return true if another tab has adopted the writes of this tab. */
  async isAdopted(): Promise<boolean> {
    return (await this.#parts.outboxes?.store.isAdopted(this.#key)) ?? false;
  }

  /**
   * Release the record, because the page may be left for another one. Until `reopen`, new writes are stored beside it.
   */
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
   * Open the record again, as other pages have left it; if another tab has adopted it, begin as a new client. It stays
   * released if the page was left more than `leavings` times by then. Before the record is read, `restore` is called
   * with its key, its shelf, that of late writes, and true if the storage named it.
   */
  async reopen(leavings: number, restore: Restore): Promise<void> {
    const { shelf } = this.#parts;
    const claim = await claimRecord(this.#parts, this.#nextKey).catch(() => beginRecord(this.#parts));
    const [key, release] = claim;
    const kept = shelf.under(`${key}:`);
    const late = kept.under(LATE);
    if (key !== this.#nextKey) moveShelf(this.#shelf, late, "write:");
    this.#nextKey = key;
    this.#shelf = late;
    await restore(key, kept, late, shelf.get(KEY) === key);
    if (this.#isClosed || leavings !== this.leavings) release();
    else this.#take(claim);
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

  /** Number the writes that were made while the page had released its record. */
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

  /**
   * Store the fields. If lower numbers are stored, the server corrects them; but it can do that only if the client is
   * stored.
   */
  #saveFields(isSameClient = false): void {
    this.#shelf.set("fields", this.#fields, isSameClient);
  }
}

/** Read the fields of a record; null if they are invalid, so that no invalid number is used. */
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

/** Claim the lock of a record, or begin another record. Throws `slot_taken`. */
async function claimRecord(parts: RecordParts, key: string): Promise<Claim> {
  const { env, scope, outboxes } = parts;
  // Without the store no tab can have adopted it.
  const isAdopted = async (): Promise<boolean> => !!(await outboxes?.store.isAdopted(key).catch(() => false));
  if (await isAdopted()) return beginRecord(parts, key);
  const release = await claimLock(env, scope + key);
  if (!release) {
    if (await isHeldInTab(env, scope + key)) throw slotTaken();
    return beginRecord(parts, (await isAdopted()) ? key : null);
  }
  // Another tab may have adopted it while this tab waited for the lock.
  if (!(await isAdopted())) return [key, release];
  release();
  return beginRecord(parts, key);
}

/** Begin as a new client, at the positions of an earlier key if one is given. */
async function beginRecord(parts: RecordParts, before: string | null = null): Promise<Claim> {
  const { env, shelf, scope } = parts;
  const key = makeKey(env);
  // Before any `await`, so that a second client of this tab finds it.
  shelf.set(KEY, key);
  if (before !== null) moveShelf(shelf.under(`${before}:`), shelf.under(`${key}:`), "position:", LATE);
  return [key, (await claimLock(env, scope + key)) ?? (() => undefined)];
}

/** Move the values whose names begin with `start` to another shelf; remove the rest. */
function moveShelf(before: Shelf, after: Shelf, ...starts: string[]): void {
  for (const start of starts) for (const name of before.listNames(start)) after.set(name, before.get(name));
  before.clear();
}

function slotTaken(): SessionError {
  const message = "Another client of this tab uses this slot: give each its own `slot`.";
  return SessionError.local("slot_taken", message);
}

/** Record that a tab keeps over a reload: its name, next number, unanswered writes and positions in the logs. */

import type { Environment } from "./environment";
import type { Position, WriteFrame } from "./frames";
import { claimLock, type Release } from "./lock";
import type { Shelf } from "./storage";

interface Fields {
  /** Name of the tab's lock; a copied tab has a copy of the name, but not the lock. */
  key: string;
  session: string | null;
  client: string | null;
  next: number;
}

export class ClientRecord {
  readonly #shelf: Shelf;
  readonly #release: Release;
  readonly #fields: Fields;

  private constructor(shelf: Shelf, releaseLock: Release, fields: Fields) {
    this.#shelf = shelf;
    this.#release = releaseLock;
    this.#fields = fields;
  }

  /**
   * Open the record of this tab. If another tab holds its lock, this tab's storage is a copy of the other's: the copied
   * writes are the other's to send, and this tab starts as a new client.
   */
  static async open(env: Environment, shelf: Shelf, scope: string): Promise<ClientRecord> {
    const kept = shelf.get<Fields>("client");
    const release = kept && (await claimLock(env, scope + kept.key));
    if (kept && release) return new ClientRecord(shelf, release, kept);
    shelf.clear();
    const key = `${env.random()}${env.random()}`.replaceAll("0.", "-");
    const fresh = new ClientRecord(shelf, (await claimLock(env, scope + key)) ?? (() => undefined), {
      key,
      session: null,
      client: null,
      next: 1,
    });
    fresh.#saveFields();
    return fresh;
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

  assignClient(session: string, client: string | null): void {
    if (this.#fields.session === session && this.#fields.client === client) return;
    this.#fields.session = session;
    this.#fields.client = client;
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

  storeWrite(seq: number, write: WriteFrame): void {
    this.#shelf.set(`write:${seq}`, write);
  }

  dropWrite(seq: number): void {
    this.#shelf.remove(`write:${seq}`);
  }

  readPosition(log: string): Position | null {
    return this.#shelf.get(`position:${log}`);
  }

  setPosition(log: string, position: Position | null): void {
    if (position) this.#shelf.set(`position:${log}`, position);
    else this.#shelf.remove(`position:${log}`);
  }

  release(): void {
    this.#release();
  }

  #saveFields(): void {
    this.#shelf.set("client", this.#fields);
  }
}

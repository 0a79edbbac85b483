/** Documents that this client follows, by name. */

import { encodePart, requirePart } from "./addresses";
import { requireThat } from "./arguments";
import type { Copies } from "./copies";
import type { DocumentCopy } from "./copy";
import type { Credentials } from "./credentials";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { Position, Strategy } from "./frames";
import type { Logbook, Reader, SyncAnswer } from "./logbook";
import { loadRequests } from "./loading";
import { applyOperations } from "./operations";
import type { DocumentHead } from "./past";
import type { ClientRecord } from "./record";
import { Replica } from "./replica";
import type { Rest } from "./rest";
import { findMismatch, type Schema } from "./schema";
import { StateDocument } from "./state";
import type { Json } from "./values";
import type { Writer } from "./writer";

type Headers = Record<string, string>;

export interface DocumentsParts {
  logbook: Logbook;
  writer: Writer;
  rest: Rest;
  credentials: Credentials;
  record: ClientRecord;
  strategy: Strategy | undefined;
  /** Schema of the document `main`. */
  schema: Schema | undefined;
  clock: Clock;
  /** Null if no local copies are kept. */
  copies: Copies | null;
  keepsSealed: boolean;
  /** Return true while nothing of the kept session may be shown. */
  isHidden(): boolean;
  /** Report that a document may not be read, or does not fit its schema. */
  tellError(name: string, error: SessionError): void;
  /** Report that a document's value comes from its local copy, or no longer does. */
  tellCached(name: string, fromCache: boolean): void;
}

interface Known {
  replica: Replica;
  document: StateDocument;
  copy: DocumentCopy | null;
}

export class Documents {
  /** Highest number that the server had decided when this connection began. */
  decided = 0;
  readonly #parts: DocumentsParts;
  readonly #known = new Map<string, Known>();

  constructor(parts: DocumentsParts) {
    this.#parts = parts;
  }

  getDocument(name: string): StateDocument {
    requirePart(name, "the name of a document");
    requireThat(!name.includes("/"), "the name of a document has no slash");
    return (this.#known.get(name) ?? this.#followDocument(name)).document;
  }

  findReplica(name: string): Replica | undefined {
    return this.#known.get(name)?.replica;
  }

  /** List all documents of the session, not only those that are followed. */
  async listHeads(): Promise<DocumentHead[]> {
    const { readHeads } = await loadRequests();
    return readHeads(await this.#callState("GET", ""));
  }

  /** Show the writes of an earlier page, because their owner is confirmed now. */
  showRestored(): void {
    for (const [name, known] of this.#known) this.#showWaiting(name, known);
  }

  dropPending(): void {
    for (const { replica } of this.#known.values()) replica.dropPending();
  }

  /** Empty all documents, because the session of another user begins. */
  resetValues(): void {
    for (const { replica } of this.#known.values()) replica.resetValue();
  }

  clearWatches(): void {
    for (const { replica } of this.#known.values()) replica.clearWatches();
  }

  #followDocument(name: string): Known {
    const { writer, logbook, strategy } = this.#parts;
    const replica = new Replica();
    const copy = this.#openCopy(name, replica);
    const document = new StateDocument(name, replica, {
      sendUpdate: (content, signal) => writer.addWrite(content, signal),
      callServer: (method, path, body, headers) => this.#callDocument(name, method, path, body, headers),
      syncDocument: () => this.#syncDocument(name, replica),
      readLimits: () => writer.limits,
      strategy,
      schema: this.#findSchema(name),
    });
    const known = { replica, document, copy };
    this.#known.set(name, known);
    if (!this.#parts.isHidden()) this.#showWaiting(name, known);
    logbook.followLog(`state:${name}`, this.#buildReader(name, known));
    return known;
  }

  /** Show writes of an earlier page that have no answer yet. */
  #showWaiting(name: string, { replica, copy }: Known): void {
    const { writer, record } = this.#parts;
    for (const write of writer.outbox.writes) {
      const isOurs = write.frame.type === "update" && write.frame.doc === name;
      const isShown = isOurs && !copy?.holdsWrite(record.client, write.seq);
      if (isShown && !replica.holdsWrite(write)) replica.expectWrite(write);
    }
  }

  /** Show the value of an earlier page at once. Tell listeners later, after the application could register them. */
  #openCopy(name: string, replica: Replica): DocumentCopy | null {
    const { copies, keepsSealed, tellCached: cached, clock } = this.#parts;
    if (!copies) return null;
    const copy = copies.openDocument(name, keepsSealed, applyOperations);
    if (!copy.kept) return copy;
    replica.restoreCopy(copy.kept.data, copy.kept.position);
    clock.setTimeout(() => {
      if (replica.fromCache) cached(name, true);
      replica.announceCopy();
    }, 0);
    return copy;
  }

  #buildReader(name: string, { replica, copy }: Known): Reader {
    const { record } = this.#parts;
    return {
      start: replica.position,
      moveTo: (position) => {
        replica.moveTo(position);
        if (!position) copy?.leaveChain();
      },
      takeVerdict: (verdict) => this.#tellWhenConfirmed(name, replica, () => replica.takeVerdict(verdict)),
      sealCopy: () => copy?.dropSealed(),
      takeEntry: (body, position) => {
        const { ops, client_id, seq } = body;
        replica.applyVersion(ops, client_id === record.client ? (seq ?? null) : null);
        copy?.appendEntry(position, body);
      },
      endFrame: () => {
        this.#tellWhenConfirmed(name, replica, () => replica.showConfirmed());
        this.#checkConfirmed(name, replica);
        copy?.foldEntries(replica.confirmed);
      },
      takeSnapshot: (data) => {
        this.#tellWhenConfirmed(name, replica, () => replica.takeSnapshot(data, this.decided));
        if (replica.position) copy?.replaceBase(replica.position, data, record.client, this.decided);
      },
      awaitSnapshot: () => replica.awaitSnapshot(),
      handleDenial: (error) => this.#handleDenial(name, error),
    };
  }

  #findSchema(name: string): Schema | undefined {
    return name === "main" ? this.#parts.schema : undefined;
  }

  /**
   * Report a value of the server that the schema refuses. A document that was never written is `{}` and is not checked.
   */
  #checkConfirmed(name: string, { version, confirmed }: Replica): void {
    const schema = this.#findSchema(name);
    const mismatch = schema && version > 0 ? findMismatch(schema, confirmed) : null;
    if (mismatch) this.#parts.tellError(name, mismatch);
  }

  /** Report when the local copy equals the server's value. */
  #tellWhenConfirmed(name: string, replica: Replica, change: () => void): void {
    const before = replica.fromCache;
    change();
    if (before && !replica.fromCache) this.#parts.tellCached(name, false);
  }

  /** Report a denial, and remove the copy of a document that may no longer be read. */
  #handleDenial(name: string, error: SessionError): void {
    const known = this.#known.get(name);
    if (known?.replica.fromCache && !error.temporary) {
      known.copy?.dropRecords();
      this.#parts.logbook.forgetPlaces([`state:${name}`]);
      this.#tellWhenConfirmed(name, known.replica, () => known.replica.resetValue());
    }
    this.#parts.tellError(name, error);
  }

  async #syncDocument(name: string, replica: Replica): Promise<void> {
    for (;;) {
      const { position } = replica;
      const answer: SyncAnswer = await this.#callDocument(name, "POST", "sync/", { position });
      this.#parts.logbook.takeSyncAnswer(`state:${name}`, answer);
      // Entries come in pages. A page that brings nothing new is the last one.
      if (answer.mode !== "entries" || replica.position === position) return;
    }
  }

  #callDocument(name: string, method: string, path: string, body?: unknown, headers?: Headers): Promise<Json> {
    return this.#callState(method, `${encodePart(name, "the name of a document")}/${path}`, body, headers);
  }

  async #callState(method: string, path: string, body?: unknown, headers: Headers = {}): Promise<Json> {
    const { credentials, rest } = this.#parts;
    const address = `sessions/${credentials.session.session_id}/state/${path}`;
    return (await rest.sendRequest(method, address, { body, headers, token: credentials.token })).body;
  }
}

export interface Fetched {
  data: Json;
  position: Position;
}

/** Fetch the body of a snapshot that is too large for a frame, with the position in its ETag. */
export async function fetchDocument(rest: Rest, url: string, token: string): Promise<Fetched> {
  const { body, etag } = await rest.sendRequest("GET", url, { token });
  const [, epoch, version, tag] = /"(.+)\.(\d+)\.([^.]*)"$/.exec(etag ?? "") ?? [];
  if (epoch === undefined || tag === undefined) throw SessionError.local("no_position", "No ETag: let proxies pass it.");
  return { data: body.data, position: [epoch, Number(version), tag] };
}

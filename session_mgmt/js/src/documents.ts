/** The documents that this client follows, by name. */

import type { Copies } from "./copies";
import { DocumentCopy } from "./copy";
import type { Credentials } from "./credentials";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { Position, Strategy } from "./frames";
import type { Logbook, Reader, SyncAnswer } from "./logbook";
import { camels, type DocumentHead } from "./past";
import type { ClientRecord } from "./record";
import { Replica } from "./replica";
import type { Rest } from "./rest";
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
  clock: Clock;
  /** Null if no local copies are kept. */
  copies: Copies | null;
  keepsSealed: boolean;
  denied(name: string, error: SessionError): void;
  /** What is seen of a document comes from its local copy, or does no more. */
  cached(name: string, fromCache: boolean): void;
}

interface Known {
  replica: Replica;
  document: StateDocument;
  copy: DocumentCopy | null;
}

export class Documents {
  /** The last number that the server had decided when this connection began. */
  decided = 0;
  readonly #parts: DocumentsParts;
  readonly #known = new Map<string, Known>();

  constructor(parts: DocumentsParts) {
    this.#parts = parts;
  }

  get(name: string): StateDocument {
    return (this.#known.get(name) ?? this.#follow(name)).document;
  }

  replica(name: string): Replica | undefined {
    return this.#known.get(name)?.replica;
  }

  /** All documents of the session, followed or not. */
  async list(): Promise<DocumentHead[]> {
    return camels((await this.#call("GET", "")).results);
  }

  dropPending(): void {
    for (const { replica } of this.#known.values()) replica.dropPending();
  }

  /** Another user's session: what this one's documents held is not for that one's eyes. */
  reset(): void {
    for (const { replica } of this.#known.values()) replica.reset();
  }

  clear(): void {
    for (const { replica } of this.#known.values()) replica.clear();
  }

  #follow(name: string): Known {
    const { writer, logbook, strategy, record } = this.#parts;
    const replica = new Replica();
    const copy = this.#copyOf(name, replica);
    const document = new StateDocument(name, replica, {
      update: (content, signal) => writer.write(content, signal),
      request: (method, path, body, headers) => this.#request(name, method, path, body, headers),
      sync: () => this.#sync(name, replica),
      limits: () => writer.limits,
      strategy,
    });
    const known = { replica, document, copy };
    this.#known.set(name, known);
    // Writes of an earlier page are on their way still.
    for (const write of writer.outbox.writes) {
      const shown = write.frame.type === "update" && write.frame.doc === name && !copy?.holds(record.client, write.seq);
      if (shown) replica.expect(write);
    }
    logbook.follow(`state:${name}`, this.#reader(name, known));
    return known;
  }

  /** What an earlier page kept is there at once; listeners and the application are told when they had time to come. */
  #copyOf(name: string, replica: Replica): DocumentCopy | null {
    const { copies, keepsSealed, cached, clock } = this.#parts;
    if (!copies) return null;
    const copy = new DocumentCopy(copies, name, keepsSealed);
    if (!copy.kept) return copy;
    replica.restore(copy.kept.data, copy.kept.position);
    clock.setTimeout(() => {
      if (replica.fromCache) cached(name, true);
      replica.announce();
    }, 0);
    return copy;
  }

  #reader(name: string, { replica, copy }: Known): Reader {
    const { record } = this.#parts;
    return {
      start: replica.position,
      moved: (position) => {
        replica.moved(position);
        if (!position) copy?.leave();
      },
      judged: (verdict) => this.#checked(name, replica, () => replica.judged(verdict)),
      sealed: () => copy?.seal(),
      entry: (body, position) => {
        const { ops, client_id, seq } = body;
        replica.advance(ops, client_id === record.client ? (seq ?? null) : null);
        copy?.append(position, body);
      },
      settled: () => {
        this.#checked(name, replica, () => replica.settled());
        copy?.settled(replica.confirmed);
      },
      snapshot: (data) => {
        this.#checked(name, replica, () => replica.replace(data, this.decided));
        if (replica.position) copy?.replace(replica.position, data, record.client, this.decided);
      },
      awaitSnapshot: () => replica.awaitSnapshot(),
      denied: (error) => this.#denied(name, error),
    };
  }

  /** Tells when a local copy has become what the server has. */
  #checked(name: string, replica: Replica, change: () => void): void {
    const before = replica.fromCache;
    change();
    if (before && !replica.fromCache) this.#parts.cached(name, false);
  }

  /** Who may not read the document may not go on reading its copy. */
  #denied(name: string, error: SessionError): void {
    const known = this.#known.get(name);
    if (known?.replica.fromCache && !error.temporary) {
      known.copy?.drop();
      this.#parts.logbook.forget([`state:${name}`]);
      this.#checked(name, known.replica, () => known.replica.reset());
    }
    this.#parts.denied(name, error);
  }

  async #sync(name: string, replica: Replica): Promise<void> {
    for (;;) {
      const { position } = replica;
      const answer: SyncAnswer = await this.#request(name, "POST", "sync/", { position });
      this.#parts.logbook.synced(`state:${name}`, answer);
      // Entries come in pages; the page that brings nothing new is the last.
      if (answer.mode !== "entries" || replica.position === position) return;
    }
  }

  #request(name: string, method: string, path: string, body?: unknown, headers?: Headers): Promise<Json> {
    return this.#call(method, `${encodeURIComponent(name)}/${path}`, body, headers);
  }

  async #call(method: string, path: string, body?: unknown, headers: Headers = {}): Promise<Json> {
    const { credentials, rest } = this.#parts;
    const address = `sessions/${credentials.session.session_id}/state/${path}`;
    return (await rest.request(method, address, { body, headers, token: credentials.token })).body;
  }
}

export interface Fetched {
  data: Json;
  position: Position;
}

/** The body of a snapshot that is too large for a frame, with the position that its ETag tells. */
export async function fetchDocument(rest: Rest, url: string, token: string): Promise<Fetched> {
  const { body, etag } = await rest.request("GET", url, { token });
  const [, epoch, version, tag] = /"(.+)\.(\d+)\.([^.]*)"$/.exec(etag ?? "") ?? [];
  if (epoch === undefined || tag === undefined) throw SessionError.local("no_position", "The document has no ETag.");
  return { data: body.data, position: [epoch, Number(version), tag] };
}

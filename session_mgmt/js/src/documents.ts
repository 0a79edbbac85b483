/** The documents that this client follows, by name. */

import type { Credentials } from "./credentials";
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
  denied(name: string, error: SessionError): void;
}

export class Documents {
  /** The last number that the server had decided when this connection began. */
  decided = 0;
  readonly #parts: DocumentsParts;
  readonly #known = new Map<string, { replica: Replica; document: StateDocument }>();

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

  clear(): void {
    for (const { replica } of this.#known.values()) replica.clear();
  }

  #follow(name: string): { replica: Replica; document: StateDocument } {
    const { writer, logbook, strategy } = this.#parts;
    const replica = new Replica();
    const document = new StateDocument(name, replica, {
      update: (content, signal) => writer.write(content, signal),
      request: (method, path, body, headers) => this.#request(name, method, path, body, headers),
      sync: () => this.#sync(name, replica),
      limits: () => writer.limits,
      strategy,
    });
    const known = { replica, document };
    this.#known.set(name, known);
    // Writes of an earlier page are on their way still.
    for (const write of writer.outbox.writes) {
      if (write.frame.type === "update" && write.frame.doc === name) replica.expect(write);
    }
    logbook.follow(`state:${name}`, this.#reader(name, replica));
    return known;
  }

  #reader(name: string, replica: Replica): Reader {
    const { record, denied } = this.#parts;
    return {
      start: null,
      moved: (position) => replica.moved(position),
      entry: ({ ops, client_id, seq }) => replica.advance(ops, client_id === record.client ? (seq ?? null) : null),
      settled: () => replica.settled(),
      snapshot: (data) => replica.replace(data, this.decided),
      awaitSnapshot: () => replica.awaitSnapshot(),
      denied: (error) => denied(name, error),
    };
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

/** Requests about a document and its history (PROTOCOL section 13). */

import { encodePart } from "../addresses";
import { toUpdateResult, type ConflictOptions, type RestoreOptions } from "../past";
import type { Checkpoint, ClientState, DocumentSizes, HistoryEntry, HistoryOptions, HistoryPage } from "../past";
import type { Keep, KeptConflict, PatchOperation, UpdateResult } from "../past";
import type { Json, JsonObject } from "../values";
import { buildQuery, formatEtag, toCamelCase, toCamelCases } from "./answers";

/** Call a path under `state/{name}/`; return the body of the answer. */
export type CallDocument = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
) => Promise<Json>;

export class DocumentRequests {
  readonly #call: CallDocument;
  readonly #readVersion: () => number;

  /** `readVersion`: return the newest version that the client has seen. */
  constructor(call: CallDocument, readVersion: () => number) {
    this.#call = call;
    this.#readVersion = readVersion;
  }

  /** Fetch the stored document with facts about it. */
  async info(): Promise<ClientState> {
    return toCamelCase(await this.#call("GET", ""));
  }

  /** Fetch the sizes in bytes of the document, its snapshots and its log on the server. */
  async sizes(): Promise<DocumentSizes> {
    return toCamelCase(await this.#call("GET", "size/"));
  }

  /** List the versions with their origins, newest first. */
  async history({ before, limit }: HistoryOptions = {}): Promise<HistoryPage> {
    const page = await this.#call("GET", `history/${buildQuery({ before, limit })}`);
    return { results: toCamelCases<HistoryEntry>(page.results), oldest: page.oldest, next: page.next };
  }

  /** Fetch the value at a version or a label. Rejects with `not_found` if it is no longer kept. */
  async readAt(version: number | string): Promise<Json> {
    const path = typeof version === "number" ? `history/${version}/` : `persist/${encodeLabel(version)}/`;
    return (await this.#call("GET", path)).data;
  }

  /** Compare two versions; by default the second one is the newest. */
  async diff(from: number, to?: number): Promise<PatchOperation[]> {
    return (await this.#call("GET", `diff/${buildQuery({ from, to })}`)).patch;
  }

  /** Keep the present version as a checkpoint with a label (by default `v<version>`). */
  async persist(label?: string): Promise<Checkpoint> {
    return { at: null, ...(await this.#call("POST", "persist/", label === undefined ? {} : { label })) };
  }

  /** List the checkpoints, oldest first. */
  async checkpoints(): Promise<Checkpoint[]> {
    return (await this.#call("GET", "persist/")).results;
  }

  /** Remove a checkpoint. Rejects with `not_found` if no checkpoint has this label. */
  async forget(label: string): Promise<void> {
    await this.#call("DELETE", `persist/${encodeLabel(label)}/`);
  }

  /** Write an earlier version or a checkpoint again, as the newest version. The change arrives like any other. */
  async restore(to: number | string, { ifMatch }: RestoreOptions = {}): Promise<UpdateResult> {
    const body = typeof to === "number" ? { version: to } : { label: to };
    const headers: Record<string, string> = ifMatch ? { "If-Match": formatEtag(ifMatch) } : {};
    return toUpdateResult(await this.#call("POST", "restore/", body, headers), this.#readVersion());
  }

  /** Store a snapshot now, and shorten the log if it exceeds its limits. */
  async compress(): Promise<DocumentSizes> {
    return toCamelCase(await this.#call("POST", "compress/", {}));
  }

  /** List the unresolved conflicts that `manual` has kept, newest first. */
  async conflicts({ includeResolved = false }: ConflictOptions = {}): Promise<KeptConflict[]> {
    const found = toCamelCases<KeptConflict>((await this.#call("GET", "conflicts/")).results);
    return includeResolved ? found : found.filter(({ resolvedAt }) => resolvedAt === null);
  }

  /** Resolve a conflict. `"value"` keeps the given value, or removes it if none is given. */
  async resolve(id: string, keep: Keep, value?: Json): Promise<UpdateResult> {
    const body = { keep, ...(value === undefined ? {} : { value }) };
    const path = `conflicts/${encodeLabel(id)}/resolve/`;
    return toUpdateResult(await this.#call("POST", path, body), this.#readVersion());
  }

  /** Keep the present version on the server as a checkpoint. */
  persistState(body: JsonObject = {}): Promise<Json> {
    return this.#call("POST", "persist/", body);
  }

  /** Write an earlier version again, as the newest one. The change arrives like any other. */
  restoreState(body: JsonObject = {}): Promise<Json> {
    return this.#call("POST", "restore/", body);
  }

  compressState(): Promise<DocumentSizes> {
    return this.compress();
  }
}

function encodeLabel(text: string): string {
  return encodePart(text, "a label").replaceAll("%2F", "/");
}

/** Document as the application uses it: read at once, written at once, confirmed by the server later. */

import type { NumberPlace, OperationsOn, Place, Read, Written } from "./application";
import { checksumOf } from "./digest";
import type { Unsubscribe } from "./emitter";
import { silenceRejection } from "./errors";
import type { Position, ReceiptFrame, Strategy, UpdateFrame } from "./frames";
import { operationsOf } from "./merge";
import { applyOperations, checkOperations, type Operation } from "./operations";
import { toCamelCase, toCamelCases, formatEtag, buildQuery, toUpdateResult } from "./past";
import type { Checkpoint, ClientState, DocumentSizes, HistoryEntry, HistoryOptions, HistoryPage } from "./past";
import type { Keep, KeptConflict, PatchOperation, UpdateResult } from "./past";
import * as pointer from "./pointer";
import { digestReplaced } from "./replaced";
import type { Listener, Replica } from "./replica";
import { findMismatch, type Schema } from "./schema";
import { byteLength, normalizeValue, type Json, type JsonObject, type ValueLimits } from "./values";

export interface WriteOptions {
  /** Before the write was sent, aborting takes it back; later, it only ends the waiting. */
  signal?: AbortSignal;
}

export interface UpdateOptions extends WriteOptions {
  /** Settles a conflict with others; by default the client's strategy, else the document's own. */
  strategy?: Strategy;
  /** All or nothing: refused with `conflict` unless every operation takes effect. */
  atomic?: boolean;
}

export interface StatePort {
  sendUpdate(frame: () => UpdateFrame, signal: AbortSignal | undefined): Promise<ReceiptFrame>;
  /** Call a path under `state/{name}/`; return the answer's body. */
  callServer(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Json>;
  syncDocument(): Promise<void>;
  readLimits(): ValueLimits;
  /** Strategy of updates that name none. */
  strategy: Strategy | undefined;
  schema: Schema | undefined;
}

export interface RestoreOptions {
  /** Restore only if the document is exactly there; else `precondition_failed`. */
  ifMatch?: Position;
}

export interface ConflictOptions {
  /** List decided conflicts as well. */
  includeResolved?: boolean;
}

type UpdateContent = Pick<UpdateFrame, "ops" | "merge" | "data" | "if_absent">;

export class StateDocument<S = Json> {
  readonly name: string;
  readonly #replica: Replica;
  readonly #port: StatePort;

  constructor(name: string, replica: Replica, port: StatePort) {
    this.name = name;
    this.#replica = replica;
    this.#port = port;
  }

  /** Number of the last change that this client has seen. */
  get version(): number {
    return this.#replica.version;
  }

  get position(): Position | null {
    return this.#replica.position;
  }

  /** True while the value is the local copy (option `cache`) and the server has not said what it lacks. */
  get fromCache(): boolean {
    return this.#replica.fromCache;
  }

  /** Updates that the server has not answered. */
  get pending(): number {
    return this.#replica.pending;
  }

  /** Return the value at a path (RFC 6901) with own pending writes; undefined if none. Do not change it in place. */
  get(): Read<S, "">;
  get<const Path extends string>(path: Path & Place<S, Path>): Read<S, Path>;
  get(path = ""): Json {
    return pointer.getValue(this.#replica.view, pointer.parse(path));
  }

  /** Call back when the value at the path has changed, by this client or by the server. */
  on<const Path extends string>(path: Path & Place<S, Path>, listener: Listener<Read<S, Path>>): Unsubscribe {
    return this.#replica.on(path, listener as Listener);
  }

  set<const Path extends string>(
    path: Path & Place<S, Path>,
    value: Written<S, NoInfer<Path>>,
    options?: UpdateOptions,
  ): Promise<UpdateResult> {
    return this.#applyOperations([["set", path, value]], options);
  }

  delete<const Path extends string>(path: Path & Place<S, Path>, options?: UpdateOptions): Promise<UpdateResult> {
    return this.#applyOperations([["del", path]], options);
  }

  /** Add to a number. Additions of several clients to one place all count. */
  inc<const Path extends string>(
    path: Path & NumberPlace<S, Path>,
    amount = 1,
    options?: UpdateOptions,
  ): Promise<UpdateResult> {
    return this.#applyOperations([["inc", path, amount]], options);
  }

  /** Insert into an array before the index at the end of the path; `-` appends. */
  insert<const Path extends string>(
    path: Path & Place<S, Path>,
    value: Written<S, NoInfer<Path>>,
    options?: UpdateOptions,
  ): Promise<UpdateResult> {
    return this.#applyOperations([["ins", path, value]], options);
  }

  /** Merge an object by RFC 7396: members replace, null removes. */
  merge(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult> {
    return this.#startUpdate(() => ({ merge: normalizeValue(patch, this.#port.readLimits()) }), options);
  }

  /** Replace the whole document. */
  replace(data: S, options?: UpdateOptions): Promise<UpdateResult> {
    return this.#startUpdate(() => ({ data: normalizeValue(data, this.#port.readLimits()) }), options);
  }

  /** Apply several operations as one version. */
  update<const Given extends readonly Operation[]>(
    operations: Given & OperationsOn<S, Given>,
    options?: UpdateOptions,
  ): Promise<UpdateResult> {
    return this.#applyOperations(operations, options);
  }

  /**
   * Give the document its first value; do nothing if it was ever written: neither another tab nor a reconnect
   * can be overwritten by defaults. A document that was cleared is not absent.
   */
  createIfAbsent(data: S, options?: WriteOptions): Promise<UpdateResult> {
    return this.#startUpdate(() => ({ if_absent: true, data: normalizeValue(data, this.#port.readLimits()) }), options);
  }

  /** Make it `{}`; an ordinary new version. */
  clear(options?: UpdateOptions): Promise<UpdateResult> {
    return this.#startUpdate(() => ({ data: {} }), options);
  }

  /** Ask the server for what is missing, over HTTP. */
  async sync(): Promise<number> {
    await this.#port.syncDocument();
    return this.version;
  }

  /** Return the bytes of the document as compact JSON. */
  size(): number {
    return byteLength(JSON.stringify(this.#replica.view) ?? "");
  }

  /** Return the SHA-256 of the value's RFC 8785 text, in hex: the server's checksum if both values are equal. */
  checksum(): string {
    return checksumOf(this.#replica.view);
  }

  /** Fetch the document as the server has it, with the facts about it. */
  async info(): Promise<ClientState> {
    return toCamelCase(await this.#port.callServer("GET", ""));
  }

  /** Fetch the bytes on the server: of the document, its snapshots and its log. */
  async sizes(): Promise<DocumentSizes> {
    return toCamelCase(await this.#port.callServer("GET", "size/"));
  }

  /** List what made each version, newest first. */
  async history({ before, limit }: HistoryOptions = {}): Promise<HistoryPage> {
    const page = await this.#port.callServer("GET", `history/${buildQuery({ before, limit })}`);
    return { results: toCamelCases<HistoryEntry>(page.results), oldest: page.oldest, next: page.next };
  }

  /** Fetch the value at a version or under a label. Rejects with `not_found` where it is gone. */
  async readAt(version: number | string): Promise<Json> {
    const path = typeof version === "number" ? `history/${version}/` : `persist/${encodeLabel(version)}/`;
    return (await this.#port.callServer("GET", path)).data;
  }

  /** Compare two versions, or a version with the newest. */
  async diff(from: number, to?: number): Promise<PatchOperation[]> {
    return (await this.#port.callServer("GET", `diff/${buildQuery({ from, to })}`)).patch;
  }

  /** Keep the present version for good, under a label (`v<version>` if none is given). */
  async persist(label?: string): Promise<Checkpoint> {
    return { at: null, ...(await this.#port.callServer("POST", "persist/", label === undefined ? {} : { label })) };
  }

  /** List the checkpoints, oldest first. */
  async checkpoints(): Promise<Checkpoint[]> {
    return (await this.#port.callServer("GET", "persist/")).results;
  }

  /** Remove a checkpoint. Rejects with `not_found` if there is none of this label. */
  async forget(label: string): Promise<void> {
    await this.#port.callServer("DELETE", `persist/${encodeLabel(label)}/`);
  }

  /** Make an earlier version, or the one of a label, the newest; the change arrives like any other. */
  async restore(to: number | string, { ifMatch }: RestoreOptions = {}): Promise<UpdateResult> {
    const body = typeof to === "number" ? { version: to } : { label: to };
    const headers: Record<string, string> = ifMatch ? { "If-Match": formatEtag(ifMatch) } : {};
    return toUpdateResult(await this.#port.callServer("POST", "restore/", body, headers), this.version);
  }

  /** Store a snapshot now and shortens a log that is over its limits. */
  async compress(): Promise<DocumentSizes> {
    return toCamelCase(await this.#port.callServer("POST", "compress/", {}));
  }

  /** List the conflicts that `manual` kept and nobody has decided, newest first. */
  async conflicts({ includeResolved = false }: ConflictOptions = {}): Promise<KeptConflict[]> {
    const found = toCamelCases<KeptConflict>((await this.#port.callServer("GET", "conflicts/")).results);
    return includeResolved ? found : found.filter(({ resolvedAt }) => resolvedAt === null);
  }

  /** Decide a conflict; `"value"` keeps the given value, or removes it if none is given. */
  async resolve(id: string, keep: Keep, value?: Json): Promise<UpdateResult> {
    const body = { keep, ...(value === undefined ? {} : { value }) };
    const path = `conflicts/${encodeLabel(id)}/resolve/`;
    return toUpdateResult(await this.#port.callServer("POST", path, body), this.version);
  }

  getState(): Read<S, "">;
  getState<const Path extends string>(path: Path & Place<S, Path>): Read<S, Path>;
  getState(path = ""): Json {
    return pointer.getValue(this.#replica.view, pointer.parse(path));
  }

  updateState(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult> {
    return this.merge(patch, options);
  }

  syncState(): Promise<number> {
    return this.sync();
  }

  /** Keep the present version on the server as a checkpoint. */
  persistState(body: JsonObject = {}): Promise<Json> {
    return this.#port.callServer("POST", "persist/", body);
  }

  /** Make an earlier version the newest; the change arrives like any other. */
  restoreState(body: JsonObject = {}): Promise<Json> {
    return this.#port.callServer("POST", "restore/", body);
  }

  clearState(options?: UpdateOptions): Promise<UpdateResult> {
    return this.clear(options);
  }

  compressState(): Promise<DocumentSizes> {
    return this.compress();
  }

  getStateSize(): number {
    return this.size();
  }

  onStateChange(listener: Listener<Read<S, "">>): Unsubscribe {
    return this.#replica.on("", listener);
  }

  #applyOperations(operations: readonly Operation[], options?: UpdateOptions): Promise<UpdateResult> {
    return this.#startUpdate(() => ({ ops: checkOperations(operations, this.#port.readLimits()) }), options);
  }

  #startUpdate(content: () => UpdateContent, options: UpdateOptions = {}): Promise<UpdateResult> {
    return silenceRejection(this.#sendUpdate(content, options));
  }

  #buildFrame(content: UpdateContent, { strategy = this.#port.strategy, atomic }: UpdateOptions): UpdateFrame {
    const { position, view } = this.#replica;
    this.#checkResult(view, content);
    // A condition on there being no version goes without one.
    const seen = !content.if_absent && position && {
      base: position[1],
      epoch: position[0],
      tag: position[2],
      replaced: digestReplaced(view, operationsOf(content)),
    };
    const terms = { ...(strategy ? { strategy } : {}), ...(atomic ? { atomic } : {}) };
    return { type: "update", doc: this.name, ...(seen || {}), ...terms, ...content };
  }

  /** Throw `schema_mismatch` for an update after which the value would not fit. */
  #checkResult(view: Json, content: UpdateContent): void {
    const { schema } = this.#port;
    const mismatch = schema && findMismatch(schema, applyOperations(view, operationsOf(content)));
    if (mismatch) throw mismatch;
  }

  async #sendUpdate(content: () => UpdateContent, options: UpdateOptions): Promise<UpdateResult> {
    const buildFrame = (): UpdateFrame => this.#buildFrame(content(), options);
    return toUpdateResult(await this.#port.sendUpdate(buildFrame, options.signal), this.version);
  }
}

function encodeLabel(text: string): string {
  return text.split("/").map(encodeURIComponent).join("/");
}

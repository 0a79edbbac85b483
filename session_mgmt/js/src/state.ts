/** Document as the application uses it: reads and writes take effect at once, the server confirms writes later. */

import type { NumberPlace, OperationsOn, Place, Read, Written } from "./application";
import { checksumOf } from "./digest";
import type { Unsubscribe } from "./emitter";
import { silenceRejection } from "./errors";
import type { Position, ReceiptFrame, Strategy, UpdateFrame } from "./frames";
import { operationsOf } from "./merge";
import { applyOperations, checkOperations, type Operation } from "./operations";
import { lendMethods, loadRequests } from "./loading";
import { toUpdateResult, type UpdateResult } from "./past";
import * as pointer from "./pointer";
import { digestReplaced } from "./replaced";
import type { Listener, Replica } from "./replica";
import type { CallDocument } from "./requests/documents";
import type { DocumentRequests } from "./requests/index";
import { findMismatch, type Schema } from "./schema";
import { byteLength, normalizeValue, type Json, type JsonObject, type ValueLimits } from "./values";

export interface WriteOptions {
  /** Abort to take the write back before it is sent. Later, aborting only ends the waiting for the answer. */
  signal?: AbortSignal;
}

export interface UpdateOptions extends WriteOptions {
  /** Strategy for a conflict with other writers; by default the client's strategy, else the document's own. */
  strategy?: Strategy;
  /** Refuse the whole update with `conflict` unless every operation takes effect. */
  atomic?: boolean;
}

export interface StatePort {
  sendUpdate(frame: () => UpdateFrame, signal: AbortSignal | undefined): Promise<ReceiptFrame>;
  callServer: CallDocument;
  syncDocument(): Promise<void>;
  readLimits(): ValueLimits;
  /** Strategy of updates that name none. */
  strategy: Strategy | undefined;
  schema: Schema | undefined;
}

type UpdateContent = Pick<UpdateFrame, "ops" | "merge" | "data" | "if_absent">;

const LENT = [
  ...["info", "sizes", "history", "readAt", "diff", "persist", "checkpoints", "forget", "restore", "compress"],
  ...["conflicts", "resolve", "persistState", "restoreState", "compressState"],
] as (keyof DocumentRequests)[];

export interface StateDocument<S = Json> extends Pick<DocumentRequests, keyof DocumentRequests> {}

export class StateDocument<S = Json> {
  readonly name: string;
  readonly #replica: Replica;
  readonly #port: StatePort;

  static {
    lendMethods<StateDocument, DocumentRequests>(StateDocument.prototype, LENT, (self) => self.#load());
  }

  constructor(name: string, replica: Replica, port: StatePort) {
    this.name = name;
    this.#replica = replica;
    this.#port = port;
  }

  /** Newest version that this client has seen. */
  get version(): number {
    return this.#replica.version;
  }

  get position(): Position | null {
    return this.#replica.position;
  }

  /** True while the value is the local copy (option `cache`) and the server has not yet sent the changes since. */
  get fromCache(): boolean {
    return this.#replica.fromCache;
  }

  /** Number of updates without an answer of the server. */
  get pending(): number {
    return this.#replica.pending;
  }

  /**
   * Return the value at a path (RFC 6901), including unanswered writes; undefined if there is none. Do not modify it.
   */
  get(): Read<S, "">;
  get<const Path extends string>(path: Path & Place<S, Path>): Read<S, Path>;
  get(path = ""): Json {
    return pointer.getValue(this.#replica.view, pointer.parse(path));
  }

  /** Call `listener` when the value at a path has changed, because of this client or of the server. */
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

  /** Add to a number. Concurrent additions of several clients all count. */
  inc<const Path extends string>(
    path: Path & NumberPlace<S, Path>,
    amount = 1,
    options?: UpdateOptions,
  ): Promise<UpdateResult> {
    return this.#applyOperations([["inc", path, amount]], options);
  }

  /** Insert into an array before the index that ends the path; `-` appends. */
  insert<const Path extends string>(
    path: Path & Place<S, Path>,
    value: Written<S, NoInfer<Path>>,
    options?: UpdateOptions,
  ): Promise<UpdateResult> {
    return this.#applyOperations([["ins", path, value]], options);
  }

  /** Merge an object by RFC 7396: members of the patch replace others, null removes them. */
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
   * Give the document its first value; do nothing if it was ever written. So default values never overwrite what
   * another tab has written. A cleared document is not absent.
   */
  createIfAbsent(data: S, options?: WriteOptions): Promise<UpdateResult> {
    return this.#startUpdate(() => ({ if_absent: true, data: normalizeValue(data, this.#port.readLimits()) }), options);
  }

  /** Set the document to `{}`; this makes an ordinary new version. */
  clear(options?: UpdateOptions): Promise<UpdateResult> {
    return this.#startUpdate(() => ({ data: {} }), options);
  }

  /** Fetch missing changes over HTTP, without a connection. Resolves with the version. */
  async sync(): Promise<number> {
    await this.#port.syncDocument();
    return this.version;
  }

  /** Return the size of the document in bytes as compact JSON. */
  size(): number {
    return byteLength(JSON.stringify(this.#replica.view) ?? "");
  }

  /**
   * Return the SHA-256 of the value's RFC 8785 text, in hexadecimal. It is the server's checksum if the values are
   * equal.
   */
  async checksum(): Promise<string> {
    return checksumOf(this.#replica.view);
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

  clearState(options?: UpdateOptions): Promise<UpdateResult> {
    return this.clear(options);
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
    // `if_absent` is a condition by itself, so the frame needs no base.
    const [epoch, base, tag] = (!content.if_absent && position) || [];
    const seen = epoch === undefined ? {} : { base, epoch, tag };
    const terms = { ...(strategy ? { strategy } : {}), ...(atomic ? { atomic } : {}) };
    const frame: UpdateFrame = { type: "update", doc: this.name, ...seen, ...terms, ...content };
    if (base !== undefined) frame.replaced = digestReplaced(view, operationsOf(frame));
    return frame;
  }

  /** Throw `schema_mismatch` if the value after an update would not fit the schema. */
  #checkResult(view: Json, content: UpdateContent): void {
    const { schema } = this.#port;
    const mismatch = schema && findMismatch(schema, applyOperations(view, operationsOf(content)));
    if (mismatch) throw mismatch;
  }

  async #load(): Promise<DocumentRequests> {
    const { DocumentRequests } = await loadRequests();
    return new DocumentRequests(this.#port.callServer, () => this.version);
  }

  async #sendUpdate(content: () => UpdateContent, options: UpdateOptions): Promise<UpdateResult> {
    const buildFrame = (): UpdateFrame => this.#buildFrame(content(), options);
    return toUpdateResult(await this.#port.sendUpdate(buildFrame, options.signal), this.version);
  }
}

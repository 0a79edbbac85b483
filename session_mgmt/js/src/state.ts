/** A document as the application uses it: read at once, written at once, confirmed by the server later. */

import type { Unsubscribe } from "./emitter";
import { quiet } from "./errors";
import type { Conflict, Position, ReceiptFrame, Strategy, UpdateFrame } from "./frames";
import { operationsOf } from "./merge";
import { checkedOperations, type Operation } from "./operations";
import * as pointer from "./pointer";
import { replacedBy } from "./replaced";
import type { Listener, Replica } from "./replica";
import { byteLength, checked, type Json, type JsonObject, type ValueLimits } from "./values";

export interface WriteOptions {
  /** Before the write was sent, aborting takes it back; later, it only ends the waiting. */
  signal?: AbortSignal;
}

export interface UpdateOptions extends WriteOptions {
  /** What happens if somebody else changed the same place since; else the client's, else the document's own counts. */
  strategy?: Strategy;
}

export interface UpdateResult {
  version: number;
  position: Position | null;
  /** True if the document was so already. */
  unchanged: boolean;
  /** Paths whose operations the strategy dropped, because somebody else changed the same place. */
  dropped: string[];
  /** Paths where values of others were overwritten. */
  overwrote: string[];
  conflicts: Conflict[];
}

export interface StatePort {
  update(frame: () => UpdateFrame, signal: AbortSignal | undefined): Promise<ReceiptFrame>;
  /** A call under `state/{name}/`. */
  request(method: string, path: string, body?: unknown): Promise<Json>;
  sync(): Promise<void>;
  limits(): ValueLimits;
  /** For updates that name none. */
  strategy: Strategy | undefined;
}

type UpdateContent = Pick<UpdateFrame, "ops" | "merge" | "data">;

export class StateDocument {
  readonly name: string;
  readonly #replica: Replica;
  readonly #port: StatePort;

  constructor(name: string, replica: Replica, port: StatePort) {
    this.name = name;
    this.#replica = replica;
    this.#port = port;
  }

  /** The number of the last change that this client has seen. */
  get version(): number {
    return this.#replica.version;
  }

  get position(): Position | null {
    return this.#replica.position;
  }

  /** Updates that the server has not answered. */
  get pending(): number {
    return this.#replica.pending;
  }

  /** The value at a path (RFC 6901), own pending writes included; undefined if none. Not to be changed in place. */
  get(path = ""): Json {
    return pointer.valueAt(this.#replica.view, pointer.parse(path));
  }

  /** Calls back when the value at the path has changed, by this client or by the server. */
  on(path: string, listener: Listener): Unsubscribe {
    return this.#replica.on(path, listener);
  }

  set(path: string, value: Json, options?: UpdateOptions): Promise<UpdateResult> {
    return this.update([["set", path, value]], options);
  }

  del(path: string, options?: UpdateOptions): Promise<UpdateResult> {
    return this.update([["del", path]], options);
  }

  /** Adds to a number. Additions of several clients to one place all count. */
  inc(path: string, amount = 1, options?: UpdateOptions): Promise<UpdateResult> {
    return this.update([["inc", path, amount]], options);
  }

  /** Inserts into an array before the index at the end of the path; `-` appends. */
  insert(path: string, value: Json, options?: UpdateOptions): Promise<UpdateResult> {
    return this.update([["ins", path, value]], options);
  }

  /** Merges an object by RFC 7396: members replace, null removes. */
  merge(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult> {
    return this.#update(() => ({ merge: checked(patch, this.#port.limits()) }), options);
  }

  /** Replaces the whole document. */
  replace(data: Json, options?: UpdateOptions): Promise<UpdateResult> {
    return this.#update(() => ({ data: checked(data, this.#port.limits()) }), options);
  }

  /** Several operations, applied together or not at all. */
  update(operations: readonly Operation[], options?: UpdateOptions): Promise<UpdateResult> {
    return this.#update(() => ({ ops: checkedOperations(operations, this.#port.limits()) }), options);
  }

  /** Asks the server for what is missing, over HTTP. */
  async sync(): Promise<number> {
    await this.#port.sync();
    return this.version;
  }

  /** Bytes of the document as compact JSON. */
  size(): number {
    return byteLength(JSON.stringify(this.#replica.view) ?? "");
  }

  getState(path = ""): Json {
    return this.get(path);
  }

  updateState(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult> {
    return this.merge(patch, options);
  }

  syncState(): Promise<number> {
    return this.sync();
  }

  /** Keeps the present version on the server as a checkpoint. */
  persistState(body: JsonObject = {}): Promise<Json> {
    return this.#port.request("POST", "persist/", body);
  }

  /** Makes an earlier version the newest; the change arrives like any other. */
  restoreState(body: JsonObject = {}): Promise<Json> {
    return this.#port.request("POST", "restore/", body);
  }

  clearState(options?: UpdateOptions): Promise<UpdateResult> {
    return this.replace({}, options);
  }

  compressState(): Promise<Json> {
    return this.#port.request("POST", "compress/", {});
  }

  getStateSize(): number {
    return this.size();
  }

  onStateChange(listener: Listener): Unsubscribe {
    return this.on("", listener);
  }

  #update(content: () => UpdateContent, options: UpdateOptions = {}): Promise<UpdateResult> {
    return quiet(this.#send(content, options));
  }

  #frame(content: UpdateContent, strategy: Strategy | undefined): UpdateFrame {
    const { position, view } = this.#replica;
    const seen = position && {
      base: position[1],
      epoch: position[0],
      replaced: replacedBy(view, operationsOf(content)),
    };
    return { type: "update", doc: this.name, ...seen, ...(strategy ? { strategy } : {}), ...content };
  }

  async #send(content: () => UpdateContent, { signal, strategy }: UpdateOptions): Promise<UpdateResult> {
    const frame = (): UpdateFrame => this.#frame(content(), strategy ?? this.#port.strategy);
    const receipt = await this.#port.update(frame, signal);
    return {
      version: receipt.position?.[1] ?? this.version,
      position: receipt.position ?? null,
      unchanged: receipt.unchanged ?? false,
      dropped: receipt.dropped ?? [],
      overwrote: receipt.overwrote ?? [],
      conflicts: receipt.conflicts ?? [],
    };
  }
}

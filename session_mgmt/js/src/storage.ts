/** Storage that never fails: values that the browser refuses stay in memory, and the application is told once. */

/** Members of the web's `Storage` that the client uses. */
export interface StoreLike {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export class MemoryStore implements StoreLike {
  readonly #items = new Map<string, string>();

  get length(): number {
    return this.#items.size;
  }

  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#items.set(key, String(value));
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }
}

/** JSON values whose keys have one prefix. */
export class Shelf {
  readonly #store: StoreLike;
  readonly #prefix: string;
  readonly #onFailure: (error: unknown) => void;
  /** Values that the store refused, by key. A shelf shares them with those that `under` returns. */
  readonly #memory: Map<string, string>;

  constructor(
    store: StoreLike,
    prefix: string,
    onFailure: (error: unknown) => void = () => undefined,
    memory = new Map<string, string>(),
  ) {
    this.#store = store;
    this.#prefix = prefix;
    this.#onFailure = onFailure;
    this.#memory = memory;
  }

  get<T>(name: string): T | null {
    const key = this.#prefix + name;
    const text = this.#memory.get(key) ?? this.#attempt(() => this.#store.getItem(key));
    try {
      return text === null ? null : (JSON.parse(text) as T);
    } catch {
      return null;
    }
  }

  /** Store a value. `keepsOld`: the old value does no harm if it comes back after a reload. */
  set(name: string, value: unknown, keepsOld = false): void {
    const key = this.#prefix + name;
    const text = JSON.stringify(value);
    try {
      this.#store.setItem(key, text);
      this.#memory.delete(key);
    } catch (error) {
      // After a reload, an old value would look like the newest one.
      if (!keepsOld) this.#attempt(() => this.#store.removeItem(key));
      this.#memory.set(key, text);
      this.#onFailure(error);
    }
  }

  remove(name: string): void {
    const key = this.#prefix + name;
    this.#memory.delete(key);
    this.#attempt(() => this.#store.removeItem(key));
  }

  /** List the names that begin with `start`. */
  listNames(start: string): string[] {
    const found = new Set<string>();
    const read = (): (string | null)[] => Array.from({ length: this.#store.length }, (_, at) => this.#store.key(at));
    const stored = this.#attempt(read) ?? [];
    for (const key of [...stored, ...this.#memory.keys()]) {
      if (key?.startsWith(this.#prefix + start)) found.add(key.slice(this.#prefix.length));
    }
    return [...found];
  }

  /** Return a shelf for the names that begin with `start`. */
  under(start: string): Shelf {
    return new Shelf(this.#store, this.#prefix + start, this.#onFailure, this.#memory);
  }

  clear(start = ""): void {
    for (const name of this.listNames(start)) this.remove(name);
  }

  #attempt<T>(call: () => T): T | null {
    try {
      return call();
    } catch (error) {
      this.#onFailure(error);
      return null;
    }
  }
}

/** Callbacks by name. A callback that throws never stops the other callbacks, nor the code that called it. */

import { requireFunction } from "./arguments";

export type Unsubscribe = () => void;

const MOST_UNHEARD = 20;

/** Callbacks of one event. */
export class Callbacks<Args extends readonly unknown[]> {
  readonly #registered = new Set<{ call: (...args: Args) => void }>();

  get size(): number {
    return this.#registered.size;
  }

  add(callback: (...args: Args) => void): Unsubscribe {
    requireFunction(callback, "the callback");
    // Wrapped, so that one function can be registered twice and each registration can be ended separately.
    const registration = { call: callback };
    this.#registered.add(registration);
    return () => void this.#registered.delete(registration);
  }

  /** End every registration of `callback`. */
  remove(callback: (...args: Args) => void): void {
    for (const registration of this.#registered) {
      if (registration.call === callback) this.#registered.delete(registration);
    }
  }

  call(...args: Args): void {
    for (const registration of [...this.#registered]) {
      // A callback that an earlier one of the same event has removed is not called.
      if (this.#registered.has(registration)) runGuarded(() => registration.call(...args));
    }
  }

  clear(): void {
    this.#registered.clear();
  }
}

export class Emitter<Events extends { [K in keyof Events]: readonly unknown[] }> {
  readonly #callbacks = new Map<keyof Events, Callbacks<never>>();
  /** Events of the `kept` types that had no listener yet. */
  readonly #unheard = new Map<keyof Events, Events[keyof Events][]>();

  /** `kept`: types of events that wait for their first listener. */
  constructor(kept: readonly (keyof Events)[] = []) {
    for (const type of kept) this.#unheard.set(type, []);
  }

  on<K extends keyof Events>(type: K, callback: (...args: Events[K]) => void): Unsubscribe {
    const callbacks: Callbacks<never> = this.#callbacks.get(type) ?? new Callbacks();
    this.#callbacks.set(type, callbacks);
    const stop = callbacks.add(callback);
    const unheard = this.#unheard.get(type)?.splice(0) ?? [];
    if (unheard.length > 0) {
      // Not within this call, because the application may not be ready for its own callback.
      queueMicrotask(() => unheard.forEach((args) => this.emit(type, ...(args as Events[K]))));
    }
    return stop;
  }

  /** Call `callback` for the next event only. */
  once<K extends keyof Events>(type: K, callback: (...args: Events[K]) => void): Unsubscribe {
    requireFunction(callback, "the callback");
    const stop = this.on(type, (...args) => {
      stop();
      callback(...args);
    });
    return stop;
  }

  /** End every registration of `callback` by `on`. */
  off<K extends keyof Events>(type: K, callback: (...args: Events[K]) => void): void {
    this.#callbacks.get(type)?.remove(callback);
  }

  emit<K extends keyof Events>(type: K, ...args: Events[K]): void {
    const callbacks = this.#callbacks.get(type);
    if (callbacks?.size) callbacks.call(...(args as never));
    else this.#keepUnheard(type, args);
  }

  #keepUnheard<K extends keyof Events>(type: K, args: Events[K]): void {
    const unheard = this.#unheard.get(type);
    unheard?.push(args);
    if (unheard && unheard.length > MOST_UNHEARD) unheard.shift();
  }

  clear(): void {
    for (const callbacks of this.#callbacks.values()) callbacks.clear();
  }
}

/** Run a callback of the application; report what it throws to the error handler of the page. */
export function runGuarded(call: () => void): void {
  try {
    call();
  } catch (error) {
    if (typeof globalThis.reportError === "function") globalThis.reportError(error);
    else console.error(error);
  }
}

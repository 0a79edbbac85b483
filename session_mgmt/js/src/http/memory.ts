/** Knowledge about the way to a server, kept in the browser for later pages: for one network, and for limited time. */

import type { Environment } from "../environment";
import { AGENT } from "../frames";
import { nameMemory, type TransportHost } from "../transport";

/** Members of `navigator` that describe the network; each of them may be missing. */
export interface NetworkLike {
  onLine?: boolean;
  connection?: EventTarget & { type?: string; saveData?: boolean };
}

interface Known {
  /** Network and client version for which the record is valid. */
  of: string;
  /** Number of sockets that failed where HTTP did not. */
  failures: number;
  /** Time until which no socket is tried first, and the length of that time in milliseconds. */
  blockedUntil: number;
  blockedFor: number;
  /** Time until which no stream is tried. */
  bufferedUntil: number;
}

const BEGIN = 600_000;
const MOST = 86_400_000;
/** Failures after which a page begins without a socket. */
const ENOUGH = 2;

export class Memory {
  readonly #env: Environment;
  readonly #name: string;
  readonly #network: NetworkLike;

  constructor(host: TransportHost) {
    this.#env = host.env;
    this.#name = nameMemory(host);
    this.#network = findNetwork(host.env);
  }

  get isBlocked(): boolean {
    return this.#read().blockedUntil > this.#env.clock.now();
  }

  get isBuffered(): boolean {
    return this.#read().bufferedUntil > this.#env.clock.now();
  }

  /** Note that a socket failed while HTTP reached the server. */
  noteFailure(): void {
    const known = this.#read();
    const failures = known.failures + 1;
    if (failures < ENOUGH) return this.#write({ ...known, failures });
    const blockedFor = Math.min(MOST, known.blockedFor * 2 || BEGIN);
    this.#write({ ...known, failures, blockedFor, blockedUntil: this.#env.clock.now() + blockedFor });
  }

  noteBuffered(): void {
    this.#write({ ...this.#read(), bufferedUntil: this.#env.clock.now() + MOST });
  }

  /** Forget that sockets failed, because one was of use or the network has changed. */
  clearFailures(): void {
    const known = this.#read();
    if (known.failures === 0) return;
    this.#write({ ...known, failures: 0, blockedUntil: 0, blockedFor: 0 });
  }

  #read(): Known {
    const none = { of: this.#describe(), failures: 0, blockedUntil: 0, blockedFor: 0, bufferedUntil: 0 };
    try {
      const known = JSON.parse(this.#env.local.getItem(this.#name) ?? "null") as Known | null;
      return known?.of === none.of ? { ...none, ...known } : none;
    } catch {
      return none;
    }
  }

  #write(known: Known): void {
    try {
      const isEmpty = known.failures === 0 && known.bufferedUntil === 0;
      if (isEmpty) this.#env.local.removeItem(this.#name);
      else this.#env.local.setItem(this.#name, JSON.stringify(known));
    } catch {
      // The next page finds it out again.
    }
  }

  #describe(): string {
    return `${AGENT} ${this.#network.connection?.type ?? "unknown"}`;
  }
}

export function findNetwork({ page }: Environment): NetworkLike {
  return (page?.window as { navigator?: NetworkLike } | undefined)?.navigator ?? {};
}

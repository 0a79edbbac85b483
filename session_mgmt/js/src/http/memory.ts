/** What the browser knows of the way to a server, for later pages: kept by network, and for a while. */

import { nameMemory } from "../choosing";
import type { Environment } from "../environment";
import { AGENT } from "../frames";
import type { TransportHost } from "../transport";

/** Parts of `navigator` that tell of the network; none of them is everywhere. */
export interface NetworkLike {
  onLine?: boolean;
  connection?: EventTarget & { type?: string; saveData?: boolean };
}

interface Known {
  /** Network and version of this client for which it holds. */
  of: string;
  /** Sockets that failed where HTTP did not. */
  failures: number;
  /** Time until which no socket is tried first, and for how many milliseconds that was. */
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

  /** Note that a socket failed while HTTP got through. */
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

  /** Forget that sockets failed: one was of use, or the network is another. */
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

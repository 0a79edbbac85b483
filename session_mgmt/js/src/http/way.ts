/**
 * Way of a client to its server, over all its attachments: whether a socket may connect, and when to test the next one.
 */

import { USEFUL_AFTER, type SocketRecord } from "../socketRecord";
import type { ServerFrame } from "../frames";
import { watchPage } from "../page";
import { nameAddress, Socket } from "../socket";
import { isLost, type Ending, type TransportHost } from "../transport";
import { findNetwork, Memory } from "./memory";

/** Seconds before each test of a socket while HTTP carries the frames; the last wait repeats. */
const PROBES = [5, 30, 120, 600];
/** Seconds before the first test on a page whose sockets have connected: its server may just have restarted. */
const FIRST_PROBE = 0.2;
/** Milliseconds that a test may take. */
const PROBE_WITHIN = 10_000;
/** Least milliseconds between two tests that signs of the page cause. */
const PROBE_APART = 60_000;
/** Sockets in a row that opened and were lost, after which the next attachment uses HTTP. */
const ENOUGH_USELESS = 3;

/** Observer of a socket. */
export interface SocketUse {
  noteFrame(frame: ServerFrame): void;
  /** Note the end of the socket; null if this page has ended it. */
  noteEnd(ending: Ending | null): void;
}

export class Way {
  readonly memory: Memory;
  readonly #host: TransportHost;
  readonly record: SocketRecord;
  #failedProbes = 0;
  #probedAt = -Infinity;
  #timer: unknown = null;
  #probe: Socket | null = null;
  #stopWatching: (() => void) | null = null;

  constructor(host: TransportHost, record: SocketRecord) {
    this.#host = host;
    this.record = record;
    this.memory = new Memory(host);
  }

  /** False if a socket would only cost time. */
  get isOpenToSockets(): boolean {
    return this.record.useless < ENOUGH_USELESS && !this.memory.isBlocked;
  }

  /** Observe whether an attached socket is of use. */
  watchUse(): SocketUse {
    const { clock } = this.#host.env;
    const begun = clock.now();
    let isUseful = false;
    const noteUse = (): void => {
      isUseful = true;
      this.record.useless = this.#failedProbes = 0;
      this.memory.clearFailures();
    };
    const timer = clock.setTimeout(noteUse, USEFUL_AFTER);
    return {
      noteFrame: ({ type }) => {
        if (!isUseful && (type === "ping" || type === "pong")) noteUse();
      },
      noteEnd: (ending) => {
        clock.clearTimeout(timer);
        // On a machine that sleeps, the timer does not run.
        if (isUseful || !ending || !isLost(ending) || clock.now() - begun >= USEFUL_AFTER) return;
        this.record.useless += 1;
        if (this.record.useless >= ENOUGH_USELESS) this.memory.noteFailure();
      },
    };
  }

  /**
   * Test sockets from time to time while HTTP carries the frames. `take` receives one that answers, which ends the
   * tests.
   */
  beginProbes(take: (socket: Socket) => void): void {
    const { page } = this.#host.env;
    const { connection } = findNetwork(this.#host.env);
    const forget = (): void => this.memory.clearFailures();
    const unwatch = watchPage(page, () => {
      if (this.#host.env.clock.now() - this.#probedAt >= PROBE_APART) this.#tryProbe(take);
    });
    page?.window.addEventListener("online", forget);
    connection?.addEventListener("change", forget);
    this.#stopWatching = () => {
      unwatch();
      page?.window.removeEventListener("online", forget);
      connection?.removeEventListener("change", forget);
    };
    this.#planProbe(take);
  }

  endProbes(): void {
    this.#host.env.clock.clearTimeout(this.#timer);
    this.#stopWatching?.();
    this.#stopWatching = null;
    this.#probe?.drop();
    this.#probe = null;
  }

  #planProbe(take: (socket: Socket) => void): void {
    const { clock, random } = this.#host.env;
    const isFirst = this.record.hasCarried && this.isOpenToSockets && this.#failedProbes === 0;
    const wait = isFirst ? FIRST_PROBE : (PROBES[Math.min(this.#failedProbes, PROBES.length - 1)] as number);
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => this.#tryProbe(take), wait * (800 + 400 * random()));
  }

  #tryProbe(take: (socket: Socket) => void): void {
    if (this.#probe) return;
    const { env } = this.#host;
    const { onLine = true, connection } = findNetwork(env);
    const isSeen = env.page?.document.visibilityState !== "hidden";
    if (!isSeen || !onLine || connection?.saveData) return this.#planProbe(take);
    this.#probedAt = env.clock.now();
    // The test counts as failed until it has succeeded.
    this.#failedProbes += 1;
    this.#planProbe(take);
    this.#probe = proveSocket(this.#host, {
      take: (socket) => {
        this.#probe = null;
        this.endProbes();
        take(socket);
      },
      handleEnd: () => (this.#probe = null),
    });
  }
}

/** Open a socket and test whether it answers. Nothing is attached to it. */
function proveSocket(host: TransportHost, port: { take(socket: Socket): void; handleEnd(): void }): Socket {
  const { clock } = host.env;
  const socket = new Socket(host.env, nameAddress(host), {
    handleOpen: () => void socket.sendFrame(QUESTION),
    handleFrame: ({ type }) => {
      if (type !== "pong") return;
      clock.clearTimeout(timer);
      port.take(socket);
    },
    handleEnd: () => {
      clock.clearTimeout(timer);
      port.handleEnd();
    },
  });
  const timer = clock.setTimeout(() => socket.endWith(1000), PROBE_WITHIN);
  return socket;
}

/** Question to a server to which nothing is attached yet. */
export const QUESTION = { type: "ping", id: 0 } as const;

/** Connection that sends the writes of a closed tab. It is loaded when there are such writes. */

import { CLOSE } from "./codes";
import type { Environment } from "./environment";
import { AGENT, type ConnectedFrame, type Position, type ReceiptFrame, type ServerFrame, type WriteFrame } from "./frames";
import type { Mirror, OutboxShelf } from "./mirror";
import type { Outbox, OutboxPort, OutboxRecord, Write } from "./outbox";
import type { ClientRow, OutboxStore } from "./outboxStore";
import { moveBase } from "./rebase";
import type { Link, LinkPort } from "./transport";

export interface SendingPort {
  openLink(port: LinkPort): Link;
  /** Return the fields of `connect` that prove the session. */
  readProof(): object;
  findPosition(document: string): Position | null;
  /** Return an outbox without limits. */
  newOutbox(record: OutboxRecord, port: OutboxPort): Outbox;
  /** Report writes of closed tabs that cannot be sent. */
  tellUnsent(writes: [seq: number, write: WriteFrame][], reason: string): void;
  /** Report the conflicts of a write that has no promise any more. */
  tellConflict(write: Write, receipt: ReceiptFrame): void;
}

const SILENCE = 15_000;

/** Connection of a closed tab's client; it ends when its writes are answered. */
export class Sending {
  settled = 0;
  readonly #env: Environment;
  readonly #store: OutboxStore;
  readonly #port: SendingPort;
  readonly #outbox: Outbox;
  readonly #acked: number;
  #row: ClientRow;
  #link: Link | null = null;
  #timer: unknown = null;

  constructor(
    env: Environment,
    outboxes: OutboxShelf,
    row: ClientRow,
    writes: [seq: number, write: WriteFrame][],
    port: SendingPort,
  ) {
    this.#env = env;
    this.#store = outboxes.store;
    this.#row = row;
    this.#port = port;
    this.#acked = (writes[0]?.[0] ?? 1) - 1;
    const outboxPort = {
      sendFrame: (frame: object) => this.#sendFrame(frame),
      rebaseWrites: (write: Write) => this.#rebaseWrites(write),
      abandonConnection: () => this.stop(),
    };
    const mirror = outboxes.newMirror(() => this.#row, () => undefined);
    this.#outbox = port.newOutbox(new Remains(mirror, writes), outboxPort);
  }

  /** Send all writes. Resolves with the close code of the connection. */
  run(): Promise<number> {
    return new Promise((resolve) => {
      this.#link = this.#port.openLink({
        buildConnect: () => this.#buildConnect(),
        handleFrame: (frame) => this.#handleFrame(frame),
        handleEnd: ({ code }) => {
          this.#env.clock.clearTimeout(this.#timer);
          this.#outbox.detach();
          this.#link = null;
          resolve(code);
        },
        findPlace: () => undefined,
        readAcked: () => this.#acked,
        tellTransport: () => undefined,
        beginSwitch: () => this.#outbox.detach(),
      });
      this.#watchSilence();
    });
  }

  stop(): void {
    this.#link?.endWith(CLOSE.NORMAL);
  }

  #buildConnect(): object {
    const { client: client_id } = this.#row;
    const fixed = { acked: this.#acked, logs: {}, capabilities: [], agent: AGENT };
    return { type: "connect", ...this.#port.readProof(), client_id, ...fixed };
  }

  #handleFrame(frame: ServerFrame): void {
    this.#watchSilence();
    if (frame.type === "connected") this.#takeConnected(frame);
    else if (frame.type === "receipt") this.#takeReceipt(frame);
    else if (frame.type === "ping") this.#sendFrame({ type: "pong", ping: frame.ping, acked: this.#acked });
    else if (frame.type === "error" && frame.seq !== undefined) {
      this.#takeReceipt({ type: "receipt", seq: frame.seq, ok: false, error: frame });
    }
  }

  #takeConnected({ session, client_id: client, last_seq: lastSeq }: ConnectedFrame): void {
    // The cookie may belong to another session now, and these writes do not.
    if (session.session_id === this.#row.owner[2]) void this.#attach(client, lastSeq);
    else this.stop();
  }

  /** Begin to send after the name of the client is stored: a tab that continues this must use the same name. */
  async #attach(client: string, lastSeq: number): Promise<void> {
    try {
      if (this.#row.client !== client) await this.#store.markAdopted((this.#row = { ...this.#row, client }));
      if (this.#link) this.#outbox.attach(lastSeq);
    } catch {
      this.stop();
    }
  }

  #takeReceipt(receipt: ReceiptFrame): void {
    const write = this.#outbox.takeReceipt(receipt);
    if (!write) return;
    this.settled += 1;
    this.#store.saveResult(this.#row.key, write.seq, receipt);
    const name = receipt.ok ? null : receipt.error?.name;
    if (receipt.ok) this.#port.tellConflict(write, receipt);
    // A receipt is forgotten only after the closed tab has confirmed it.
    else if (name !== "receipt_gone") this.#port.tellUnsent([[write.seq, write.frame]], name ?? "refused");
    if (this.#outbox.size > 0) return;
    this.#sendFrame({ type: "disconnect" });
    this.stop();
  }

  /** Receipts are not confirmed, so they stay on the server: the closed tab may come back and ask for them. */
  #sendFrame(frame: object): boolean {
    if ((frame as { type?: string }).type === "ack") return true;
    return (this.#link?.sendFrame(frame) ?? 0) > 0;
  }

  #rebaseWrites({ seq, frame }: Write): Write[] {
    if (frame.type !== "update") return [];
    const position = this.#port.findPosition(frame.doc);
    const concerned = this.#outbox.writes.filter(
      (later) => later.seq >= seq && later.frame.type === "update" && later.frame.doc === frame.doc,
    );
    for (const later of concerned) if (later.frame.type === "update") later.frame = moveBase(later.frame, position);
    return concerned;
  }

  #watchSilence(): void {
    this.#env.clock.clearTimeout(this.#timer);
    this.#timer = this.#env.clock.setTimeout(() => this.#link?.endWith(CLOSE.SILENT_SERVER), SILENCE);
  }
}

/** Record of the outbox of a closed tab. */
class Remains implements OutboxRecord {
  next: number;
  // The store may be older than the closed tab was, so any of the writes may have been sent.
  sent = Infinity;
  readonly #mirror: Mirror;
  readonly #writes: [seq: number, write: WriteFrame][];

  constructor(mirror: Mirror, writes: [seq: number, write: WriteFrame][]) {
    this.#mirror = mirror;
    this.#writes = writes;
    this.next = (writes.at(-1)?.[0] ?? 0) + 1;
    for (const [seq, write] of writes) mirror.put(seq, write);
  }

  readWrites(): [seq: number, write: WriteFrame][] {
    return this.#writes;
  }

  storeWrite(seq: number, write: WriteFrame): void {
    this.#mirror.put(seq, write);
  }

  dropWrite(seq: number): void {
    this.#mirror.put(seq, null);
  }

  guardNumbers(): void {
    this.#mirror.guard();
  }

  awaitStored(resume: () => void): boolean {
    return this.#mirror.awaitStored(resume);
  }
}

/**
 * Panel over the page that shows what a client does. All content is text in plain elements, in a shadow tree with a
 * style sheet made by script: no file is loaded, and a strict content security policy allows it.
 */

import type { Connection } from "./connection";
import type { Unsubscribe } from "./emitter";
import type { SessionEvents, Status, StatusReason } from "./events";
import type { Position, RecoveryReceipt, SuccessorReceipt, WriteFrame } from "./frames";
import type { Logbook } from "./logbook";
import type { Writer } from "./writer";

/** Client, as the panel uses it. */
export interface ShownClient {
  readonly id: string;
  readonly clientId: string | null;
  readonly status: Status;
  readonly pending: number;
  on<Event extends "status" | "recovery">(type: Event, callback: (...args: SessionEvents[Event]) => void): Unsubscribe;
}

interface DebugPort {
  describe(): { id: string; client: string | null; status: Status; pending: number };
  listPositions(): Record<string, Position | null>;
  listWaiting(): { seq: number; frame: WriteFrame }[];
  onFrame(listener: (direction: Direction, frame: object) => void): Unsubscribe;
  onStatus(listener: (status: Status, reason: StatusReason | null) => void): Unsubscribe;
  onRecovery(listener: (receipt: RecoveryReceipt | SuccessorReceipt) => void): Unsubscribe;
}

export type Direction = "sent" | "received";

type Row = string[];

const MOST_ROWS = 100;
const MOST_CHARACTERS = 2000;
const DRAW_AFTER = 100;
/** Fields that prove a session, which must not be in a screenshot. */
const SECRETS = new Set(["token", "access", "refresh", "nonce"]);

const STYLE = `
  :host { all: initial; }
  section { position: fixed; inset: auto 8px 8px auto; z-index: 2147483647; box-sizing: border-box;
    width: min(560px, calc(100vw - 16px)); max-height: min(70vh, 640px); overflow: auto; border: 1px solid #6b7280;
    border-radius: 8px; background: #fff; color: #111827; font: 13px/1.4 system-ui, sans-serif; }
  header { position: sticky; top: 0; display: flex; gap: 8px; align-items: center; padding: 8px 12px;
    border-bottom: 1px solid #d1d5db; background: inherit; }
  h2 { margin: 0; font-size: 14px; }
  p { flex: 1; margin: 0; overflow-wrap: anywhere; }
  button { min-width: 44px; min-height: 32px; border: 1px solid #6b7280; border-radius: 6px; background: inherit;
    color: inherit; font: inherit; cursor: pointer; }
  :focus-visible { outline: 3px solid #2563eb; outline-offset: 1px; }
  summary { padding: 6px 12px; font-weight: 600; cursor: pointer; }
  div { overflow-x: auto; padding: 0 12px 8px; }
  table { width: 100%; border-collapse: collapse; }
  td, th { padding: 2px 8px 2px 0; border-top: 1px solid #e5e7eb; text-align: start; vertical-align: top; }
  td { font-family: ui-monospace, monospace; font-size: 12px; overflow-wrap: anywhere; }
  td:not(:last-child), th { white-space: nowrap; }
  @media (prefers-color-scheme: dark) {
    section { background: #111827; color: #f3f4f6; border-color: #9ca3af; }
    td, th, header { border-color: #374151; }
    button { border-color: #9ca3af; }
    :focus-visible { outline-color: #93c5fd; }
  }
`;

/** Show the panel; return the function that removes it. */
export function openPanel(
  client: ShownClient,
  { watchers }: Connection,
  logbook: Logbook,
  writer: Writer,
): Unsubscribe {
  const panel = new Panel({
    describe: () => ({ id: client.id, client: client.clientId, status: client.status, pending: client.pending }),
    listPositions: () => Object.fromEntries(logbook.names().map((name) => [name, logbook.position(name)])),
    listWaiting: () => [...writer.outbox.writes],
    onFrame: (listener) => {
      watchers.add(listener);
      return () => void watchers.delete(listener);
    },
    onStatus: (listener) => client.on("status", listener),
    onRecovery: (listener) => client.on("recovery", listener),
  });
  document.body.append(panel.host);
  return () => panel.close();
}

class Panel {
  readonly host = document.createElement("session-mgmt-debug");
  readonly #port: DebugPort;
  readonly #status = make("p", { role: "status" });
  readonly #frames = new Table("Frames", ["time", "way", "frame"]);
  readonly #positions = new Table("Positions", ["log", "offset", "epoch", "tag"]);
  readonly #outbox = new Table("Outbox", ["number", "type", "write"]);
  readonly #verdicts = new Table("Status and verdicts", ["time", "what", "detail"]);
  readonly #stops: Unsubscribe[];
  #frameRows: Row[] = [];
  #verdictRows: Row[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(port: DebugPort) {
    this.#port = port;
    this.#build();
    this.#stops = [
      port.onFrame((direction, frame) => {
        this.#frameRows = keepNewest(this.#frameRows, [now(), direction, shorten(frame)]);
        this.#planDrawing();
      }),
      port.onStatus((status, reason) => this.#noteVerdict(status, reason ? `${reason.code} ${reason.name}` : "")),
      port.onRecovery((receipt) => this.#noteVerdict(`recovery: ${receipt.verdict}`, shorten(receipt))),
    ];
    this.#draw();
  }

  close(): void {
    for (const stop of this.#stops) stop();
    clearTimeout(this.#timer);
    this.host.remove();
  }

  #build(): void {
    const root = this.host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const title = make("h2", { id: "title" }, "session_mgmt");
    const close = make("button", { type: "button" }, "Close");
    close.addEventListener("click", () => this.close());
    const tables = [this.#frames, this.#positions, this.#outbox, this.#verdicts].map(({ element }) => element);
    const section = make("section", { "aria-labelledby": "title" }, make("header", {}, title, this.#status, close), ...tables);
    section.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.close();
    });
    root.append(section);
  }

  #noteVerdict(what: string, detail: string): void {
    this.#verdictRows = keepNewest(this.#verdictRows, [now(), what, detail]);
    this.#planDrawing();
  }

  /** Draw once for many frames. */
  #planDrawing(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#draw();
    }, DRAW_AFTER);
  }

  #draw(): void {
    const { id, client, status, pending } = this.#port.describe();
    const text = `${status}, ${pending} waiting, session ${id || "-"}, client ${client ?? "-"}`;
    // A screen reader reads a text again each time it is set, even if it is the same.
    if (this.#status.textContent !== text) this.#status.textContent = text;
    this.#frames.draw(this.#frameRows);
    this.#verdicts.draw(this.#verdictRows);
    this.#positions.draw(Object.entries(this.#port.listPositions()).map(([log, place]) => describePlace(log, place)));
    this.#outbox.draw(this.#port.listWaiting().map(({ seq, frame }) => [`${seq}`, frame.type, shorten(frame)]));
  }
}

/** Table that can be folded. */
class Table {
  readonly element: HTMLElement;
  readonly #title: string;
  readonly #summary = make("summary", {});
  readonly #body = make("tbody", {});
  #drawn = "";

  constructor(title: string, columns: string[]) {
    this.#title = title;
    const heads = columns.map((name) => make("th", { scope: "col" }, name));
    const table = make("table", { "aria-label": title }, make("thead", {}, make("tr", {}, ...heads)), this.#body);
    // Wide rows make it scroll, so the keyboard must reach it.
    const frame = make("div", { tabindex: "0", role: "group", "aria-label": title }, table);
    this.element = make("details", { open: "" }, this.#summary, frame);
    this.draw([]);
  }

  draw(rows: Row[]): void {
    const text = JSON.stringify(rows);
    if (text === this.#drawn) return;
    this.#drawn = text;
    this.#summary.textContent = `${this.#title} (${rows.length})`;
    this.#body.replaceChildren(...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))));
  }
}

function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string>,
  ...children: (string | Node)[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function keepNewest(rows: Row[], row: Row): Row[] {
  return [row, ...rows].slice(0, MOST_ROWS);
}

function describePlace(log: string, place: Position | null): Row {
  return place ? [log, `${place[1]}`, place[0], place[2]] : [log, "-", "-", "-"];
}

function shorten(value: object): string {
  const text = JSON.stringify(value, (key, member: unknown) => (SECRETS.has(key) ? "…" : member));
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
}

function now(): string {
  return new Date().toISOString().slice("2026-11-27T".length, -1);
}

/**
 * Answers of the fake server under `state/`. A diff is one `replace` of the whole document; every conflict is
 * unresolved.
 */

import type { Json } from "../values";
import type { FakeDocument } from "./log";
import type { FakeSession } from "./session";

export interface Answer {
  status: number;
  body: Json;
  headers?: Record<string, string>;
}

interface Call {
  document: FakeDocument;
  method: string;
  /** Path after the name of the document, without slashes at its ends. */
  rest: string;
  query: URLSearchParams;
  body: Json;
  /** Write a value as a new version, and notify all clients. */
  write(document: FakeDocument, value: Json): void;
}

const AT = "2026-11-23T12:00:00.000000Z";

export function answerRequest(session: FakeSession, url: URL, call: Pick<Call, "method" | "body" | "write">): Answer {
  const path = url.pathname.replace(/^.*?\/state\//, "").replace(/\/$/, "");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  if (!name) return makeAnswer({ results: [...session.documents].map(([each, it]) => describeHead(each, it)) });
  const document = session.documents.get(name);
  if (!document) return makeRefusal(404, 244, "document_not_found");
  const [verb = ""] = rest;
  const handler = HANDLERS[verb];
  if (!handler) return makeRefusal(404, 106, "not_found");
  return handler({ ...call, document, rest: rest.slice(1).join("/"), query: url.searchParams }, name);
}

const HANDLERS: Record<string, (call: Call, name: string) => Answer> = {
  "": ({ document }, name) => {
    const body = { ...describeHead(name, document), data: document.value };
    return { status: 200, body, headers: { ETag: `"${document.position.join(".")}"` } };
  },
  sync: ({ document }) => makeAnswer({ mode: "snapshot", position: document.position, data: document.value }),
  size: ({ document }) => makeAnswer(describeSizes(document)),
  compress: ({ document }) => makeAnswer(describeSizes(document)),
  history: (call) => (call.rest ? readAt(call.document, Number(call.rest)) : makeAnswer(listHistory(call))),
  diff: ({ document, query }) => {
    const [from, to] = [Number(query.get("from")), Number(query.get("to") ?? document.head)];
    return makeAnswer({ from, to, patch: [{ op: "replace", path: "", value: document.valueAt(to) }] });
  },
  persist: (call) => (call.rest ? answerLabel(call) : answerCheckpoints(call)),
  restore: ({ document, body, write }) => {
    const version = body.version ?? document.labels.get(body.label);
    const value = document.valueAt(version);
    if (value === undefined) return makeRefusal(404, 106, "not_found");
    write(document, value);
    return makeAnswer({ position: document.position });
  },
  conflicts: ({ document, rest, body, write }) => {
    if (rest === "") return makeAnswer({ results: document.conflicts });
    const at = document.conflicts.findIndex(({ id }) => rest.startsWith(id));
    if (at < 0) return makeRefusal(404, 106, "not_found");
    const [conflict] = document.conflicts.splice(at, 1) as [Json];
    if (body.keep !== "server") write(document, body.keep === "client" ? conflict.client : body.value);
    return makeAnswer({ position: document.position, unchanged: body.keep === "server" });
  },
};

function describeHead(name: string, document: FakeDocument): Json {
  return {
    name,
    version: document.head,
    position: document.position,
    last_modified: AT,
    last_writer: null,
    checksum: null,
    checksum_version: null,
    compressed: false,
    encrypted: false,
    size: JSON.stringify(document.value).length,
  };
}

function describeSizes(document: FakeDocument): Json {
  const size = JSON.stringify(document.value).length;
  return { version: document.head, size, exact: true, stored: size, log: 0, compressed: false };
}

function listHistory({ document, query }: Call): Json {
  const before = Number(query.get("before") ?? document.head + 1);
  const page = document.entries.filter(([version]) => version < before).reverse();
  const results = page.slice(0, Number(query.get("limit") ?? 50)).map(([version, tag, { ops, client_id, seq }]) => ({
    version,
    tag,
    kind: "patch",
    at: AT,
    client_id: client_id ?? null,
    seq: seq ?? null,
    paths: ops.map((operation: Json) => operation[1]),
    bytes: JSON.stringify(ops).length,
    labels: [...document.labels].filter(([, at]) => at === version).map(([label]) => label),
  }));
  const last = results.at(-1)?.version ?? 0;
  return { results, oldest: 0, next: results.length < page.length ? last : null };
}

function readAt(document: FakeDocument, version: number | undefined): Answer {
  const data = version === undefined ? undefined : document.valueAt(version);
  return data === undefined ? makeRefusal(404, 106, "not_found") : makeAnswer({ version, data });
}

function answerCheckpoints({ document, method, body }: Call): Answer {
  if (method === "GET") {
    return makeAnswer({ results: [...document.labels].map(([label, version]) => ({ label, version, at: AT })) });
  }
  const { label = `v${document.head}` } = body;
  document.labels.set(label, document.head);
  return makeAnswer({ label, version: document.head });
}

function answerLabel({ document, method, rest }: Call): Answer {
  if (method === "GET") return readAt(document, document.labels.get(rest));
  return document.labels.delete(rest) ? { status: 204, body: null } : makeRefusal(404, 106, "not_found");
}

function makeAnswer(body: Json): Answer {
  return { status: 200, body };
}

function makeRefusal(status: number, code: number, name: string): Answer {
  return { status, body: { code, name, temporary: false, message: "" } };
}

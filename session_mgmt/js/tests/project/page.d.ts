/** What the examples of the documentation take from a page and its project. */

declare module "vue" {
  export function shallowRef<Value>(value: Value): { value: Value };
  export function onScopeDispose(end: () => void): void;
}

declare module "vite" {
  export function defineConfig(config: object): object;
}

type Client = typeof import("session-mgmt-client").SessionClient;
declare const SessionClient: Client;
declare const session: Awaited<ReturnType<Client["start"]>>;
declare const sessionId: string;
declare const more: HTMLElement;
declare const chart: { markJump(from: number | null, to: number | null): void };
declare function render(value: unknown): void;
declare function show(...values: unknown[]): void;
declare function showAll(value: unknown): void;
declare function showBanner(text: string, act: () => void): void;
declare function draw(rows: readonly unknown[]): void;
declare function badge(document: string, fromCache: boolean): void;
declare function apply(change: unknown): void;
declare function reload(topic: string | null, reason: string): void;

interface Order {
  id: number;
  status: string;
}

/** Elements that the examples' pages have. */
interface Document {
  getElementById(id: "positions"): HTMLElement;
}

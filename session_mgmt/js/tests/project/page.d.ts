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
declare function render(value: unknown): void;
declare function show(value: unknown): void;
declare function showBanner(text: string, act: () => void): void;

/** Hooks for React. Nothing starts during rendering, and each shown value is the same object until it changes. */

import { createContext, createElement, useCallback, useContext, useEffect, useMemo, useSyncExternalStore } from "react";
import type { ReactElement, ReactNode } from "react";
import type {
  AnyApplication,
  ApplicationTypes,
  KnownTopic,
  Place,
  PublicationOf,
  PublicationPlace,
  Read,
  SessionClient,
  StateDocument,
  Status,
  TypeOf,
} from "./index";

import { pages, type Pages, type PagesOptions, type PagesShown } from "./pages";

/** Types of the application for the hooks: declare its member `application` in this module. */
export interface Register {}

export type Registered = Register extends { application: infer A extends ApplicationTypes } ? A : AnyApplication;

export interface SessionProviderProps {
  /** Null before the start, and on a server. */
  client: SessionClient<Registered> | null;
  children?: ReactNode;
}

/** Keep the last publications, at most this many; the newest one is last. */
export interface Last {
  last: number;
}

/** Combine all publications into one value. */
export interface Fold<Value, Data> {
  reduce: (value: Value, data: Data, place: PublicationPlace) => Value;
  first: Value;
}

/** List to show, with the calls that show more of it. */
export interface UsedPages<Row> extends PagesShown<Row>, Pick<Pages<Row>, "loadNext" | "refresh"> {}

type State = TypeOf<Registered, "state">;
type Present<S, Path extends string> = Exclude<Read<S, Path>, undefined>;
type Publication<Topic extends string> = PublicationOf<TypeOf<Registered, "topics">, Topic>;
type Followable<Topic extends string> = Topic & KnownTopic<TypeOf<Registered, "topics">, Topic>;
type Take = (data: unknown, place: PublicationPlace) => void;
type Stop = () => void;

// A removed component may be shown again at once, as in StrictMode. Leaving the topic meanwhile would lose its place.
const LEAVE_AFTER = 1000;

const Client = createContext<SessionClient<Registered> | null>(null);
const nothing: Stop = () => undefined;

/** Provide the client to the hooks of the components below. */
export function SessionProvider({ client, children }: SessionProviderProps): ReactElement {
  return createElement(Client.Provider, { value: client }, children);
}

/** Return the client; null before the start, and on a server. */
export function useSession(): SessionClient<Registered> | null {
  return useContext(Client);
}

/**
 * Return the value at a path of the document `main`, or of another document, which must be opened outside of the
 * component. `first` replaces a missing value, and is what a server renders.
 */
export function useValue<const Path extends string>(path: Path & Place<State, Path>): Read<State, Path>;
export function useValue<const Path extends string>(
  path: Path & Place<State, Path>,
  first: Present<State, NoInfer<Path>>,
): Present<State, Path>;
export function useValue<const Path extends string, S>(
  path: Path & Place<NoInfer<S>, Path>,
  first: undefined,
  document: StateDocument<S>,
): Read<NoInfer<S>, Path>;
export function useValue<const Path extends string, S>(
  path: Path & Place<NoInfer<S>, Path>,
  first: Present<NoInfer<S>, NoInfer<Path>>,
  document: StateDocument<S>,
): Present<NoInfer<S>, Path>;
export function useValue(path: string, first?: unknown, document?: StateDocument): unknown {
  const client: SessionClient | null = useSession();
  const source = document ?? client?.state;
  const subscribe = useCallback((tell: Stop) => source?.on(path, tell) ?? nothing, [source, path]);
  const read = (): unknown => {
    const value: unknown = source?.get(path);
    return value === undefined ? first : value;
  };
  return useSyncExternalStore(subscribe, read, () => first);
}

/**
 * Follow a topic while the component is shown. Returns its newest publication (undefined before the first one), the
 * `last` ones, or the result of `reduce` over all. `reduce` must not modify its arguments.
 */
export function useTopic<const Topic extends string>(topic: Followable<Topic>): Publication<Topic> | undefined;
export function useTopic<const Topic extends string>(topic: Followable<Topic>, keep: Last): Publication<Topic>[];
export function useTopic<const Topic extends string, Value>(
  topic: Followable<Topic>,
  fold: Fold<Value, Publication<Topic>>,
): Value;
export function useTopic(topic: string, keep?: Last | Fold<unknown, unknown>): unknown {
  const client: SessionClient | null = useSession();
  // Value that this component has received from the topic. It is no start value for another client or topic.
  const kept = useMemo(() => ({ value: startOf(keep), keep }), [client, topic]);
  // Use the newest `reduce` of the component, and keep the value so far.
  useEffect(() => {
    kept.keep = keep;
  });
  const subscribe = useCallback(
    (tell: Stop) => {
      if (!client) return nothing;
      return followTopic(client, topic, (data, place) => {
        kept.value = fold(kept.value, data, place, kept.keep);
        tell();
      });
    },
    [client, topic, kept],
  );
  return useSyncExternalStore(
    subscribe,
    () => kept.value,
    () => kept.value,
  );
}

/** Return the status of the connection; `connecting` before the start and on a server. */
export function useStatus(): Status {
  const client = useSession();
  const subscribe = useCallback((tell: Stop) => client?.on("status", tell) ?? nothing, [client]);
  return useSyncExternalStore<Status>(
    subscribe,
    () => client?.status ?? "connecting",
    () => "connecting",
  );
}

/** Return the number of unanswered writes. */
export function usePending(): number {
  const client = useSession();
  const subscribe = useCallback((tell: Stop) => client?.on("pending", tell) ?? nothing, [client]);
  return useSyncExternalStore(
    subscribe,
    () => client?.pending ?? 0,
    () => 0,
  );
}

/**
 * Show a list view and keep it up to date while the component is shown. Only the options of the first rendering count;
 * another `url` is another list.
 */
export function usePages<Row = Record<string, unknown>>(url: string, options?: PagesOptions): UsedPages<Row> {
  const client = useSession();
  const kept = useMemo(() => new KeptPages<Row>(client, url, options), [client, url]);
  const shown = useSyncExternalStore(kept.subscribe, kept.read, kept.read);
  return useMemo(() => ({ ...shown, loadNext: kept.loadNext, refresh: kept.refresh }), [shown, kept]);
}

const EMPTY: PagesShown<never> = { rows: [], more: 0, hasNext: false, isLoading: true, error: null };

/** List that begins with the first component that shows it, and ends shortly after the last one is removed. */
class KeptPages<Row> {
  #list: Pages<Row> | null = null;
  #shown: PagesShown<Row> = EMPTY;
  #count = 0;

  constructor(
    readonly client: SessionClient<Registered> | null,
    readonly url: string,
    readonly options?: PagesOptions,
  ) {}

  readonly read = (): PagesShown<Row> => this.#shown;
  readonly loadNext = async (): Promise<void> => this.#list?.loadNext();
  readonly refresh = async (): Promise<void> => this.#list?.refresh();

  readonly subscribe = (tell: Stop): Stop => {
    if (!this.client) return nothing;
    this.#count += 1;
    const list = (this.#list ??= pages<Row>(this.client, this.url, this.options));
    const stop = list.on("change", () => {
      this.#shown = list.shown;
      tell();
    });
    return () => {
      stop();
      this.#count -= 1;
      setTimeout(() => this.#end(list), LEAVE_AFTER);
    };
  };

  #end(list: Pages<Row>): void {
    if (this.#count > 0 || this.#list !== list) return;
    list.close();
    this.#list = null;
  }
}

function startOf(keep: Last | Fold<unknown, unknown> | undefined): unknown {
  if (!keep) return undefined;
  return "reduce" in keep ? keep.first : [];
}

function fold(value: unknown, data: unknown, place: PublicationPlace, keep?: Last | Fold<unknown, unknown>): unknown {
  if (!keep) return data;
  if ("reduce" in keep) return keep.reduce(value, data, place);
  return [...(value as unknown[]), data].slice(-keep.last);
}

/** Follow a topic. When the component is removed, the subscription stays for a moment, without calls of `take`. */
function followTopic(client: SessionClient, topic: string, take: Take): Stop {
  let isShown = true;
  const leave = client.topics.subscribe(topic, (data, place) => {
    if (isShown) take(data, place);
  });
  return () => {
    isShown = false;
    setTimeout(leave, LEAVE_AFTER);
  };
}

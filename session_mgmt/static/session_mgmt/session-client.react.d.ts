/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
/** Hooks for React. Nothing begins while a component renders; what it shows is the same object until it changes. */
import type { ReactElement, ReactNode } from "react";
import type { AnyApplication, ApplicationTypes, KnownTopic, Place, PublicationOf, PublicationPlace, Read, SessionClient, StateDocument, Status, TypeOf } from "./session-client.js";
import { type Pages, type PagesOptions, type PagesShown } from "./session-client.pages.js";
/** Tells the hooks the types of the application: declare its member `application` in this module. */
export interface Register {
}
export type Registered = Register extends {
    application: infer A extends ApplicationTypes;
} ? A : AnyApplication;
export interface SessionProviderProps {
    /** Null until it has started, and on a server. */
    client: SessionClient<Registered> | null;
    children?: ReactNode;
}
/** Keeps the last so many publications, the newest at the end. */
export interface Last {
    last: number;
}
/** Makes one value of all publications. */
export interface Fold<Value, Data> {
    reduce: (value: Value, data: Data, place: PublicationPlace) => Value;
    first: Value;
}
/** What is shown of a list, and how to show more of it. */
export interface UsedPages<Row> extends PagesShown<Row>, Pick<Pages<Row>, "loadNext" | "refresh"> {
}
type State = TypeOf<Registered, "state">;
type Present<S, Path extends string> = Exclude<Read<S, Path>, undefined>;
type Publication<Topic extends string> = PublicationOf<TypeOf<Registered, "topics">, Topic>;
type Followable<Topic extends string> = Topic & KnownTopic<TypeOf<Registered, "topics">, Topic>;
/** Give the client to the hooks of the components below. */
export declare function SessionProvider({ client, children }: SessionProviderProps): ReactElement;
/** Return the client; null until it has started, and on a server. */
export declare function useSession(): SessionClient<Registered> | null;
/**
 * Return the value at a path of the document `main`, or of another one that was opened outside of the component.
 * `first` stands for a value that is not there, and is what a server renders.
 */
export declare function useValue<const Path extends string>(path: Path & Place<State, Path>): Read<State, Path>;
export declare function useValue<const Path extends string>(path: Path & Place<State, Path>, first: Present<State, NoInfer<Path>>): Present<State, Path>;
export declare function useValue<const Path extends string, S>(path: Path & Place<NoInfer<S>, Path>, first: undefined, document: StateDocument<S>): Read<NoInfer<S>, Path>;
export declare function useValue<const Path extends string, S>(path: Path & Place<NoInfer<S>, Path>, first: Present<NoInfer<S>, NoInfer<Path>>, document: StateDocument<S>): Present<NoInfer<S>, Path>;
/**
 * Follow a topic while the component is shown. Returns its newest publication (undefined before the first), the `last`
 * ones, or what `reduce` makes of all. `reduce` must not change the value that it is given.
 */
export declare function useTopic<const Topic extends string>(topic: Followable<Topic>): Publication<Topic> | undefined;
export declare function useTopic<const Topic extends string>(topic: Followable<Topic>, keep: Last): Publication<Topic>[];
export declare function useTopic<const Topic extends string, Value>(topic: Followable<Topic>, fold: Fold<Value, Publication<Topic>>): Value;
/** Return the status of the connection; `connecting` until the client has started, and on a server. */
export declare function useStatus(): Status;
/** Return the number of writes without an answer. */
export declare function usePending(): number;
/**
 * Show a list view whose pages stay true, while the component is shown. The options of the first rendering count;
 * another `url` is another list.
 */
export declare function usePages<Row = Record<string, unknown>>(url: string, options?: PagesOptions): UsedPages<Row>;
export {};

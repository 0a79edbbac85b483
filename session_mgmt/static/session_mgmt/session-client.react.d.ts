/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
/** Hooks for React. Nothing starts during rendering, and each shown value is the same object until it changes. */
import type { ReactElement, ReactNode } from "react";
import type { AnyApplication, ApplicationTypes, KnownTopic, Place, PublicationOf, PublicationPlace, Read, SessionClient, StateDocument, Status, TypeOf } from "./session-client.js";
import { type Pages, type PagesOptions, type PagesShown } from "./session-client.pages.js";
/** Types of the application for the hooks: declare its member `application` in this module. */
export interface Register {
}
export type Registered = Register extends {
    application: infer A extends ApplicationTypes;
} ? A : AnyApplication;
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
export interface UsedPages<Row> extends PagesShown<Row>, Pick<Pages<Row>, "loadNext" | "refresh"> {
}
type State = TypeOf<Registered, "state">;
type Present<S, Path extends string> = Exclude<Read<S, Path>, undefined>;
type Publication<Topic extends string> = PublicationOf<TypeOf<Registered, "topics">, Topic>;
type Followable<Topic extends string> = Topic & KnownTopic<TypeOf<Registered, "topics">, Topic>;
/** Provide the client to the hooks of the components below. */
export declare function SessionProvider({ client, children }: SessionProviderProps): ReactElement;
/** Return the client; null before the start, and on a server. */
export declare function useSession(): SessionClient<Registered> | null;
/**
 * Return the value at a path of the document `main`, or of another document, which must be opened outside of the
 * component. `first` replaces a missing value, and is what a server renders.
 */
export declare function useValue<const Path extends string>(path: Path & Place<State, Path>): Read<State, Path>;
export declare function useValue<const Path extends string>(path: Path & Place<State, Path>, first: Present<State, NoInfer<Path>>): Present<State, Path>;
export declare function useValue<const Path extends string, S>(path: Path & Place<NoInfer<S>, Path>, first: undefined, document: StateDocument<S>): Read<NoInfer<S>, Path>;
export declare function useValue<const Path extends string, S>(path: Path & Place<NoInfer<S>, Path>, first: Present<NoInfer<S>, NoInfer<Path>>, document: StateDocument<S>): Present<NoInfer<S>, Path>;
/**
 * Follow a topic while the component is shown. Returns its newest publication (undefined before the first one), the
 * `last` ones, or the result of `reduce` over all. `reduce` must not modify its arguments.
 */
export declare function useTopic<const Topic extends string>(topic: Followable<Topic>): Publication<Topic> | undefined;
export declare function useTopic<const Topic extends string>(topic: Followable<Topic>, keep: Last): Publication<Topic>[];
export declare function useTopic<const Topic extends string, Value>(topic: Followable<Topic>, fold: Fold<Value, Publication<Topic>>): Value;
/** Return the status of the connection; `connecting` before the start and on a server. */
export declare function useStatus(): Status;
/** Return the number of unanswered writes. */
export declare function usePending(): number;
/**
 * Show a list view and keep it up to date while the component is shown. Only the options of the first rendering count;
 * another `url` is another list.
 */
export declare function usePages<Row = Record<string, unknown>>(url: string, options?: PagesOptions): UsedPages<Row>;
export {};

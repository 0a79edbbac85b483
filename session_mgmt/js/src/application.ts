/**
 * Types that an application declares: the contents of its documents and topics, and what its handlers take and return.
 * Nothing checks them at run time, except the option `schema`.
 */

import type { Operation } from "./operations";
import type { Json } from "./values";

export interface ApplicationTypes {
  /** Value of the document `main`. */
  state?: unknown;
  /** Values of other documents by their names. */
  documents?: object;
  /** Publications by the patterns of their topics, such as `orders:{pk}`. */
  topics?: object;
  /** Messages that handlers take (`in`) and their answers (`out`); a union of pairs if there are several. */
  send?: { in: unknown; out: unknown };
}

/** Application that declares no types: every value is any JSON. */
export interface AnyApplication {
  state: Json;
  documents: Json;
  topics: Json;
  send: { in: Json; out: Json };
}

type IsAny<T> = 0 extends 1 & T ? true : false;

/** Declared type of a member of the application; `Json` if it is not declared. */
export type TypeOf<A, Name extends keyof ApplicationTypes> = A extends Record<Name, infer T> ? T : Json;

export type DocumentOf<A, Name extends string> =
  Name extends "main"
    ? TypeOf<A, "state">
    : IsAny<TypeOf<A, "documents">> extends true
      ? Json
      : Name extends keyof TypeOf<A, "documents">
        ? TypeOf<A, "documents">[Name]
        : Json;

/** Result for a path that the document does not have. */
declare const NO_PLACE: unique symbol;
type NoPlace = typeof NO_PLACE;

/** Value at a path; `Json` if the path is escaped, deeper than eight, or not a literal. */
export type ValueAt<S, Path extends string> =
  IsAny<S> extends true
    ? Json
    : string extends Path
      ? Json
      : Path extends ""
        ? S
        : Path extends `${string}~${string}`
          ? Json
          : Path extends `/${infer Tokens}`
            ? Walk<S, Tokens, [1, 1, 1, 1, 1, 1, 1, 1]>
            : NoPlace;

type Walk<S, Tokens extends string, Left extends unknown[]> = Left extends [unknown, ...infer Others]
  ? Tokens extends `${infer Token}/${infer Rest}`
    ? Walk<TypeOfMember<S, Token>, Rest, Others>
    : TypeOfMember<S, Tokens>
  : Json;

// The type distributes over a union: if a member is optional, it and everything in it may be absent.
type TypeOfMember<S, Token extends string> =
  IsAny<S> extends true
    ? Json
    : S extends NoPlace
      ? NoPlace
      : S extends undefined | null
        ? undefined
        : S extends readonly (infer Item)[]
          ? Token extends "-" | `${number}`
            ? Item
            : NoPlace
          : S extends object
            ? TypeOfObjectMember<S, Token>
            : NoPlace;

type TypeOfObjectMember<S, Token extends string> = Token extends keyof S
  ? S[Token]
  : Token extends `${infer Index extends number}`
    ? Index extends keyof S
      ? S[Index]
      : NoPlace
    : NoPlace;

/** The path, if the document has such a place; for a union, if one of its members has it. */
export type Place<S, Path extends string> = NoPlace extends ValueAt<S, Path>
  ? [Present<S, Path>] extends [never]
    ? never
    : Path
  : Path;

/** Value at a path if it is present. */
type Present<S, Path extends string> = Exclude<ValueAt<S, Path>, NoPlace | undefined>;

/** Result of reading a path; undefined if nothing is written there yet. */
export type Read<S, Path extends string> = Path extends ""
  ? S extends object
    ? Partial<S>
    : S
  : Exclude<ValueAt<S, Path>, NoPlace> | undefined;

/** Value that may be written at a path. */
export type Written<S, Path extends string> = IsAny<ValueAt<S, Path>> extends true ? Json : Present<S, Path>;

/** The path, if the place holds a number. */
export type NumberPlace<S, Path extends string> =
  IsAny<ValueAt<S, Path>> extends true ? Path : Present<S, Path> extends number | null ? Place<S, Path> : never;

/** Operations whose paths and values fit the document. */
export type OperationsOn<S, Given extends readonly Operation[]> = { [At in keyof Given]: OperationOn<S, Given[At]> };

type OperationOn<S, Given> = Given extends readonly ["set" | "ins", infer Path extends string, unknown]
  ? readonly [Given[0], Place<S, Path>, Written<S, Path>]
  : Given extends readonly ["inc", infer Path extends string, number]
    ? readonly ["inc", NumberPlace<S, Path>, number]
    : Given extends readonly ["del" | "obj", infer Path extends string]
      ? readonly [Given[0], Place<S, Path>]
      : Given;

/** Publications of a topic. Of several patterns that fit, the one with the longest literal part counts. */
export type PublicationOf<T, Topic extends string> =
  IsAny<T> extends true ? Json : string extends Topic ? Json : T[Best<Fitting<T, Topic>> & keyof T];

/** The topic, if its publications have a declared type. */
export type KnownTopic<T, Topic extends string> =
  IsAny<T> extends true ? Topic : string extends Topic ? Topic : [Fitting<T, Topic>] extends [never] ? never : Topic;

type Fitting<T, Topic extends string> = {
  [Pattern in keyof T & string]: Topic extends Opened<Pattern> ? Pattern : never;
}[keyof T & string];

/** Pattern as a template type: `orders:{pk}` matches every `orders:…`. */
type Opened<Pattern extends string> = Pattern extends `${infer Before}{${string}}${infer After}`
  ? `${Before}${string}${Opened<After>}`
  : Pattern;

type Best<Patterns extends string> = {
  [One in Patterns]: true extends { [Other in Patterns]: IsLonger<Literal<Other>, Literal<One>> }[Patterns] ? never : One;
}[Patterns];

/** Characters of a pattern outside of its placeholders, as a tuple. */
type Literal<Pattern extends string> = Pattern extends `${infer Before}{${string}}${infer After}`
  ? [...Characters<Before>, ...Literal<After>]
  : Characters<Pattern>;

type Characters<Text extends string, Counted extends unknown[] = []> = Text extends `${string}${infer Rest}`
  ? Characters<Rest, [...Counted, 1]>
  : Counted;

type IsLonger<One extends unknown[], Other extends unknown[]> = One extends [...Other, unknown, ...unknown[]]
  ? true
  : false;

/** Message that a handler accepts. */
export type Sent<A> = SentBy<TypeOf<A, "send">>;

type SentBy<S> = IsAny<S> extends true ? Json : S extends { in: infer In } ? In : never;

/** Answer of a handler to a message. */
export type Returned<A, Message> = ReturnedBy<TypeOf<A, "send">, Message>;

type ReturnedBy<S, Message> =
  IsAny<S> extends true
    ? Json
    : S extends { in: infer In; out: infer Out }
      ? IsAny<In> extends true
        ? Out
        : Message extends In
          ? Out
          : never
      : never;

/** Types of the hooks without types of an application, and of their options. Compiled, and never run. */

import { SessionClient, type StateDocument } from "../../src/index";
import { SessionProvider, useSession, useTopic, useValue } from "../../src/react";

declare const client: SessionClient | null;
declare const drafts: StateDocument<{ text: string; n?: number }>;

SessionProvider({ client });
const session: SessionClient | null = useSession();
const any: Date = useValue("/anything");
const text = useValue("/text", "", drafts);
text.trim();
const absent = useValue("/text", undefined, drafts);
// @ts-expect-error: nothing has to be there
absent.trim();
// @ts-expect-error: a text is no number
useValue("/text", 5, drafts);
// @ts-expect-error: no such place
useValue("/title", "", drafts);
const sum: number = useTopic("numbers", { first: 0, reduce: (before: number, n: number) => before + n });
const last: Date[] = useTopic("numbers", { last: 3 });
// @ts-expect-error: a text is no number
const wrong: number = useTopic("numbers", { first: "", reduce: (before: string) => before });

export { any, last, session, sum, wrong };

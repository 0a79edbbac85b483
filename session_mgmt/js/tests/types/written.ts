/** Types that `manage.py session_types` has written (tests/commands/test_session_types.py). Compiled, and never run. */

import { SessionClient } from "../../src/index";
import type { App } from "./declared";

const session = await SessionClient.start<App>();
const amount: number | undefined = session.state.get("/line-items/0/amounts/1");
session.topics.subscribe("orders:42", ({ status, note }) => [status satisfies "paid" | "sent", note?.trim()]);
const lines = session.document("lines").get("/0/sku");
lines?.trim();
// @ts-expect-error: a line has no price
session.document("lines").get("/0/price");

export { amount };

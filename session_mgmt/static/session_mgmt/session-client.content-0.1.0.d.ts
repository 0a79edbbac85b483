/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
import type { Part } from "./session-client.js";
declare const part: Part;
export default part;

// Print what each module adds to each script: minified bytes, and the bytes that the script would lose with gzip if the
// module were missing. The latter do not add up, because gzip uses repeated words of other modules.

import { gzipSync } from "node:zlib";
import { transform } from "esbuild";
import { buildApart } from "./bundles.mjs";

const BEFORE_MODULE = /^[ \t]*\/\/ ((?:src\/|shared:)\S+)\n/gm;

for (const [name, text] of await buildApart()) await printSizes(name, text);

async function printSizes(name, text) {
  const modules = await splitModules(text);
  const whole = measure(modules.map(([, code]) => code));
  console.log(`\n${name}: ${whole.bytes} bytes, ${whole.zipped} with gzip`);
  const rows = modules.map(([module, code], at) => {
    const others = measure(modules.filter((_, other) => other !== at).map(([, other]) => other));
    return [code.length, whole.zipped - others.zipped, module];
  });
  for (const row of rows.sort(([, one], [, other]) => other - one)) console.log(row.map((cell) => `${cell}`.padStart(6)).join(" "));
}

/** Return the minified text of each module of a script by its name. */
async function splitModules(text) {
  const pieces = text.split(BEFORE_MODULE).slice(1);
  const named = pieces.flatMap((piece, at) => (at % 2 === 0 ? [[piece, pieces[at + 1]]] : []));
  return Promise.all(named.map(async ([module, code]) => [module, await strip(code)]));
}

/** Return text without white space and comments; return a module unchanged if it does not parse by itself. */
async function strip(code) {
  const body = code.replace(/^export \{[^}]*\};$/m, "");
  return (await transform(body, { minifyWhitespace: true, logLevel: "silent" }).catch(() => ({ code }))).code;
}

function measure(codes) {
  const text = codes.join("");
  return { bytes: text.length, zipped: gzipSync(text, { level: 9 }).length };
}

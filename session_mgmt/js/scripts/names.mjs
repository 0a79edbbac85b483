// Short names for the methods that only the client's own modules call. A name is shortened if it is never anything but a
// function: not a member of data, which is stored and sent, and nothing that an application or a browser knows.

import { readFileSync } from "node:fs";
import ts from "typescript";

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const WORD = /[A-Za-z_$][\w$]*/g;

/** Return the short name of each method by its own; `typings`: declarations of all that is public. */
export function shortenNames(root, modules, typings) {
  const { target, lib } = { target: ts.ScriptTarget.ES2022, lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"] };
  const program = ts.createProgram(modules, { target, lib, types: [], noEmit: true, rootDir: root });
  const sources = program.getSourceFiles();
  const ours = sources.filter(({ fileName }) => modules.includes(fileName));
  const methods = new Set();
  const others = new Set(typings.flatMap((text) => text.match(WORD)));
  for (const source of sources) visit(source, (node) => sort(node, ours.includes(source) ? methods : others, others));
  const names = [...methods].filter((name) => !others.has(name) && /[a-z][A-Z]/.test(name)).sort();
  const used = new Set(ours.flatMap(({ text }) => text.match(WORD)));
  const free = listShort().filter((name) => !used.has(name) && !others.has(name));
  return Object.fromEntries(names.map((name, at) => [name, free[at]]));
}

function visit(node, look) {
  look(node);
  ts.forEachChild(node, (child) => visit(child, look));
}

/** Add a member's name to `methods` if it is a function there, else to `others`. */
function sort(node, methods, others) {
  if (ts.isStringLiteralLike(node)) others.add(node.text);
  if (!("name" in node) || !node.name || !ts.isIdentifier(node.name)) return;
  const { text } = node.name;
  if (ts.isMethodDeclaration(node) || ts.isMethodSignature(node)) methods.add(text);
  else if (ts.isPropertySignature(node)) (node.type && ts.isFunctionTypeNode(node.type) ? methods : others).add(text);
  else if (ts.isPropertyAssignment(node)) (isFunction(node.initializer) ? methods : others).add(text);
  else if (ts.isPropertyDeclaration(node) || ts.isGetAccessor(node) || ts.isSetAccessor(node)) others.add(text);
}

function isFunction(node) {
  return ts.isArrowFunction(node) || ts.isFunctionExpression(node);
}

function listShort() {
  const letters = [...LETTERS];
  return letters.flatMap((first) => letters.map((second) => first + second));
}

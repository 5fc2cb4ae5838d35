// GitHub's own evaluator behind a pipe: one JSON question a line in, one JSON answer a line out.
//
// {"expression": "...", "contexts": {...}, "status": {"success": true, "failure": false, "cancelled": false},
//  "condition": true}  ->  {"value": ...} or {"error": "..."}
//
// A condition that names no status function has `success() &&` before it, as on GitHub.
import { createInterface } from "node:readline";
import { data, Evaluator, Lexer, Parser } from "@actions/expressions";

const STATUS = ["success", "failure", "cancelled", "always"];
const toData = (value) => JSON.parse(JSON.stringify(value), data.reviver);
const toPlain = (value) => JSON.parse(JSON.stringify(value, data.replacer) ?? "null");

function statusFunctions(status) {
  return STATUS.map((name) => ({
    name,
    minArgs: 0,
    maxArgs: 0,
    call: () => new data.BooleanData(name === "always" || status[name] === true),
  }));
}

function answer({ expression, contexts, status, condition }) {
  // `!` turns a condition into true or false by the evaluator's own idea of truth.
  const { tokens } = new Lexer(condition ? `!(${expression})` : expression).lex();
  const functions = statusFunctions(status ?? {});
  const tree = new Parser(tokens, Object.keys(contexts), functions).parse();
  const known = new Map(functions.map((one) => [one.name, one]));
  const value = new Evaluator(tree, toData(contexts), known).evaluate();
  if (!condition) return { value: toPlain(value) };
  const asks = tokens.some((one, at) => STATUS.includes(one.lexeme.toLowerCase()) && tokens[at + 1]?.lexeme === "(");
  return { value: toPlain(value) === false && (asks || status?.success === true) };
}

for await (const line of createInterface({ input: process.stdin })) {
  let told;
  try {
    told = answer(JSON.parse(line));
  } catch (error) {
    told = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

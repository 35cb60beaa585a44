// stylua.cjs - StyLua's WebAssembly over files: node stylua.cjs STYLUA SETTINGS [--fix] FILE...
//
// STYLUA is the folder of the unpacked package, SETTINGS a stylua.toml. Prints one line for each file
// that is laid out otherwise, with the first line that differs; --fix writes the files instead.
"use strict";
const fs = require("fs");
const [folder, settings, ...rest] = process.argv.slice(2);
const stylua = require(folder + "/stylua_lib_node.cjs");
const fix = rest[0] === "--fix";
const files = fix ? rest.slice(1) : rest;

const kinds = {
  syntax: stylua.LuaVersion,
  indent_type: stylua.IndentType,
  quote_style: stylua.QuoteStyle,
  call_parentheses: stylua.CallParenType,
  collapse_simple_statement: stylua.CollapseSimpleStatement,
};

// A new object each time: StyLua takes the settings it is given.
function config() {
  const result = stylua.Config.new();
  for (const line of fs.readFileSync(settings, "utf8").split("\n")) {
    const [, key, name, number] = line.match(/^(\w+) = (?:"(\w+)"|(\d+))$/) || [];
    if (line === "" || line.startsWith("#")) continue;
    const value = number ? Number(number) : kinds[key]?.[name];
    if (value === undefined || !(key in result)) throw new Error(`${settings}: not known: ${line}`);
    result[key] = value;
  }
  return result;
}

function format(text) {
  return stylua.formatCode(text, config(), undefined, stylua.OutputVerification.None);
}

for (const file of files) {
  const text = fs.readFileSync(file, "utf8");
  try {
    let laid_out = format(text);
    if (laid_out === text) continue;
    if (fix) {
      // StyLua may need a second pass to agree with itself.
      for (let pass = 0; pass < 4; pass++) laid_out = format(laid_out);
      fs.writeFileSync(file, laid_out);
      continue;
    }
    const [have, want] = [text.split("\n"), laid_out.split("\n")];
    let n = 0;
    while (have[n] === want[n]) n++;
    console.log(`${file}:${n + 1}: StyLua has here: ${(want[n] ?? "the end of the file").trim()}`);
  } catch (error) {
    console.log(`${file}:1: StyLua: ${String(error).split("\n")[0]}`);
  }
}

--- The blocks of code in the documentation, and a folder in which they can be run.
--
-- The word behind a block's fence says what becomes of it:
--
--     ```lua              a program: run
--     ```lua fragment     part of one: it must be Lua, by itself, in a table or behind `return`
--     ```lua file=NAME    a file: written into the folder under that name
--     ```sh               commands: run by bash, `perilune` and `./perilune` being this program
--     ```sh form          commands with places to fill in: their commands and keys must exist
--     ```                 anything else
--
-- The folder has a toy model `base`, files of rows and text, and docs/. Runs take two steps in it.

local lfs = require("lfs")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

local doc_blocks = { clean = world.clean }

--- The blocks of a page.
-- @tparam string path
-- @treturn {{line=integer,kind=string,text=string},...} kind: the words behind the fence
function doc_blocks.of(path)
  local blocks, open, number = {}, nil, 0
  for line in io.lines(path) do
    number = number + 1
    local indent, info = line:match("^( *)```(.*)$")
    if open and indent and info == "" then
      open.text = table.concat(open.lines, "\n") .. "\n"
      blocks[#blocks + 1], open = open, nil
    elseif open then
      open.lines[#open.lines + 1] = line:sub(#open.indent + 1)
    elseif indent then
      open = { line = number, kind = info, indent = indent, lines = {} }
    end
  end
  assert(not open, path .. ": a block without its end")
  return blocks
end

--- Whether a text is Lua: a chunk, an expression, or elements of a table.
-- @tparam string text
-- @treturn boolean
-- @treturn ?string why not
function doc_blocks.parses(text)
  local ok, message = load(text)
  if ok or load("return " .. text) or load("return {" .. text .. "}") then return true end
  return false, message
end

local QUICK <const> = "for _, row in ipairs(require('perilune.config.common').rows) do "
  .. "if row.max_steps then row.max_steps = 2 end end"

local WRAPPER <const> = [[
#!/bin/sh
# The program, with runs of two steps, and a demo of a small world.
case "$1" in
demo)
  shift
  set -- demo "$@" --log_rows=400 --labeler_rows=120 --documents=300 --rank_prompts=16 \
    --eval_prompts=16 --answers=3 --hidden_size=32 --num_hidden_layers=1
  ;;
esac
exec '%s' -e "%s" "$@"
]]

--- A folder for the blocks of a page.
-- @treturn table `dir`
function doc_blocks.folder()
  local w = world.new("llama")
  local dir = w.dir
  local special = pl.chat.control_names(pl.chat.plain)
  table.insert(special, 1, "<s>")
  local text = scratch.read(w.text)
  local tok = pl.tokenizer.train {
    texts = { text },
    vocab_size = 300,
    special = special,
    bos = "<s>",
    eos = "<|end|>",
  }
  local model = pl.model.new({
    model_type = "llama",
    hidden_size = 32,
    intermediate_size = 48,
    num_hidden_layers = 2,
    num_attention_heads = 2,
    num_key_value_heads = 1,
    max_position_embeddings = 128,
    vocab_size = #tok,
  }, { seed = 3 })
  assert(model:save(dir .. "/base", { tokenizer = tok }))
  assert(pl.files.copy(w.demos, dir .. "/demonstrations.jsonl"))
  assert(pl.files.remove(w.reward)) -- its name is that of a recipe
  for _, name in ipairs { "docs", "recipes" } do
    assert(lfs.link(lfs.currentdir() .. "/" .. name, dir .. "/" .. name, true))
  end
  assert(lfs.link("base", dir .. "/MODEL", true))
  assert(lfs.mkdir(dir .. "/bin"))
  local wrapper = dir .. "/bin/perilune"
  world.write(wrapper, WRAPPER:format(world.program, QUICK))
  os.execute(("chmod +x '%s'"):format(wrapper))
  assert(lfs.link("bin/perilune", dir .. "/perilune", true))
  return { dir = dir }
end

--- Runs a command line of bash in a folder; its status and all it wrote.
-- @tparam table place of doc_blocks.folder
-- @tparam string commands
-- @treturn integer
-- @treturn string
function doc_blocks.shell(place, commands)
  local script = place.dir .. "/.commands"
  world.write(script, commands)
  local line = (
    "cd '%s' && PATH=\"$PWD/bin:$PATH\" NO_COLOR=1 timeout 900 bash -eu -o pipefail "
    .. ".commands < /dev/null > .said 2>&1"
  ):format(place.dir)
  local _, _, code = os.execute(line)
  return code, scratch.read(place.dir .. "/.said")
end

--- Runs a block; nil, or what is wrong.
-- @tparam table place
-- @tparam table block
-- @treturn ?string
function doc_blocks.fault(place, block)
  local name = block.kind:match("^%w+ file=(%S+)$")
  local code, said = 0, nil
  if name then
    world.write(place.dir .. "/" .. name, block.text)
  elseif block.kind == "lua" then
    world.write(place.dir .. "/.block.lua", block.text)
    code, said = doc_blocks.shell(place, "perilune .block.lua")
  elseif block.kind == "sh" then
    code, said = doc_blocks.shell(place, block.text)
  elseif block.kind == "lua fragment" then
    local ok, message = doc_blocks.parses(block.text)
    return not ok and message or nil
  end
  return code ~= 0 and ("status %d\n%s"):format(code, said) or nil
end

return doc_blocks
